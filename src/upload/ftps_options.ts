import type { Pace } from "./pace.ts";

/** Where and how an FTPS server is reached. */
export interface FtpsOptions {
  /** Host name or address, as in the server's certificate. */
  readonly host: string;
  /** Port of the control connection: by custom 990 for implicit, 21 for explicit TLS. */
  readonly port: number;
  /** User name. */
  readonly user: string;
  /** Password. */
  readonly password: string;
  /** `implicit`: TLS from the first byte. `explicit`: after `AUTH TLS` (RFC 4217); the login is never sent in clear. */
  readonly mode: "implicit" | "explicit";
  /** Certificates (PEM) of the authorities to trust, the same for all destinations of a process. @default The system's roots. */
  readonly caPem?: string;
  /** The name in the certificate, where it is not `host`. */
  readonly servername?: string;
  /** Absolute folder that all paths are below. @default {"/"} */
  readonly basePath?: string;
  /** Time for connecting and logging in, for each reply, and without any progress of a transfer, in milliseconds. @default {30_000} */
  readonly timeoutMs?: number;
  /** How often a file is tried where trying again may help. @default {3} */
  readonly attempts?: number;
  /** Pause before the second attempt, in milliseconds; it doubles with each. @default {1_000} */
  readonly retryDelayMs?: number;
  /** Limits the bytes a second, together with all others that are given the same one. @default No limit. */
  readonly pace?: Pace;
}

/** `host:port/base`, for people and as the ledger's key: the same path in another base folder is another file. An IPv6 address is in brackets. */
export function nameOf({ host, port, basePath = "" }: Pick<FtpsOptions, "host" | "port" | "basePath">): string {
  const base = basePath.split("/").filter((name) => name !== "").map((name) => `/${name}`).join("");
  return `${host.includes(":") ? `[${host}]` : host}:${port}${base}`;
}

/**
 * Checks options and fills in the defaults.
 *
 * @param options As given.
 * @returns All of them, without those that have no default.
 * @throws {RangeError} If a number or a text cannot be used.
 */
export function checkFtpsOptions(
  options: FtpsOptions,
): FtpsOptions & Required<Omit<FtpsOptions, "caPem" | "servername" | "pace">> {
  const checked = { basePath: "/", timeoutMs: 30_000, attempts: 3, retryDelayMs: 1_000, ...options };
  const whole = {
    port: [1, 65_535],
    timeoutMs: [1, 2 ** 31 - 1],
    attempts: [1, 1_000],
    retryDelayMs: [0, 3_600_000],
  } as const;
  for (const [name, [from, to]] of Object.entries(whole)) {
    const value = checked[name as keyof typeof whole];
    if (!Number.isInteger(value) || value < from || value > to) {
      throw new RangeError(
        `Cannot connect as '${name}' must be a whole number from ${from} to ${to}: current value is ${value}`,
      );
    }
  }
  for (const name of ["host", "user", "password"] as const) {
    if (!/^\P{Cc}+$/u.test(checked[name])) {
      throw new RangeError(`Cannot connect as '${name}' must not be empty nor hold control characters`);
    }
  }
  return checked;
}
