import { isLoopback } from "../../loopback.ts";

/** How RabbitMQ's certificate is verified; see {@linkcode RabbitmqOptions.tls}. */
export interface RabbitmqTls {
  /** Certificates of the authorities that are trusted, in PEM. @default {the system's} */
  readonly ca?: string;
  /** The name that the certificate must bear. @default {the host} */
  readonly servername?: string;
}

/** Where RabbitMQ is and how to log in. Texts are taken as they are: nothing needs to be escaped. */
export interface RabbitmqOptions {
  /** Name or address. */
  readonly host: string;
  /** AMQP port. @default {5671, without TLS 5672} */
  readonly port?: number;
  /** Who logs in. */
  readonly username: string;
  /** Any characters. */
  readonly password: string;
  /** Virtual host. @default {"/"} */
  readonly vhost?: string;
  /** Encrypts the connection; the certificate is always verified. `false`: studies are sent in the clear. @default {{}, on this host false} */
  readonly tls?: RabbitmqTls | false;
  /** A connection is given up after two to three times so many seconds of silence. @default {10} */
  readonly heartbeatSeconds?: number;
  /** Time allowed for one attempt to connect, in milliseconds. @default {5_000} */
  readonly connectTimeoutMs?: number;
  /**
   * What the queues are. `"classic"` is for a broker that is shared with the Python PIXL, whose queues are classic with `x-max-priority` 5: such a
   * queue is not replicated. @default {"quorum"}
   */
  readonly queueType?: "quorum" | "classic";
  /**
   * How often a message may come back because its consumer vanished, before it is made a dead letter. A quorum queue's limit is set when it
   * is first declared. @default {20}
   */
  readonly maxDeliveries?: number;
}

/** The options with every default filled in. */
export type Settings = Required<RabbitmqOptions>;

/**
 * Fills in the defaults.
 *
 * @param options What the caller gave.
 * @returns Every setting.
 * @throws {RangeError} If a number cannot be used.
 */
export function settingsOf(options: RabbitmqOptions): Settings {
  const { tls = isLoopback(options.host) ? false : {} } = options;
  const settings = {
    vhost: "/",
    queueType: "quorum" as const,
    heartbeatSeconds: 10,
    connectTimeoutMs: 5_000,
    maxDeliveries: 20,
    ...options,
    tls,
    port: options.port ?? (tls === false ? 5672 : 5671),
  };
  checkWhole("port", settings.port, 1, 65_535);
  checkWhole("heartbeatSeconds", settings.heartbeatSeconds, 1, 60);
  checkWhole("connectTimeoutMs", settings.connectTimeoutMs, 1, 600_000);
  checkWhole("maxDeliveries", settings.maxDeliveries, 1, 1_000_000);
  return settings;
}

/**
 * @param name What the number is called.
 * @param value The number.
 * @param min The least.
 * @param max The most.
 * @throws {RangeError} If it is not a whole number between both.
 */
export function checkWhole(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new RangeError(
    `Cannot use RabbitMQ as '${name}' must be a whole number from ${min} to ${max}: current value is ${value}`,
  );
}
