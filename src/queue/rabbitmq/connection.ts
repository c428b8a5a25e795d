import { Socket } from "node:net";
import { abortable, deadline, delay } from "@std/async";
import { getLogger } from "@logtape/logtape";
import * as amqp from "amqplib";
import type { Abortable } from "../broker.ts";
import { closedFailure, connectFailure, isTransient, operationFailure } from "./failure.ts";
import type { QueueError } from "../errors.ts";
import type { Settings } from "./options.ts";

const log = getLogger(["pixl", "queue", "rabbitmq"]);

/** Time allowed for one exchange with the broker, a reconnection included. */
const ANSWER_MS = 30_000;
/** Time allowed for the goodbye of the channels, and for that of the connection; a broker that hangs never answers it. */
const GOODBYE_MS = 1_500;
const RETRIES = 3;

/**
 * A connection that comes back by itself when it was cut. Only the connection: channels die with it, and who holds one opens another.
 */
export class Connection implements AsyncDisposable {
  /** How it was opened. */
  readonly settings: Settings;
  readonly #recovering: amqp.RecoveringChannelModel;
  readonly #link: Link;
  readonly #closing = new AbortController();
  readonly #ended: AbortController;
  readonly #listeners = new Set<() => void>();
  /** Each with its end. */
  readonly #channels = new Map<amqp.Channel, Promise<void>>();
  #connected = Promise.withResolvers<amqp.ChannelModel>();
  #blocked = false;
  /** Why the last attempt to connect failed, since when there is no connection. */
  #failure: QueueError | undefined;
  /** Whether there ever was one: whoever opens it is told by an error. */
  #opened = false;
  #closed: Promise<void> | undefined;

  private constructor(settings: Settings, recovering: amqp.RecoveringChannelModel, link: Link, ended: AbortController) {
    this.settings = settings;
    this.#recovering = recovering;
    this.#link = link;
    this.#ended = ended;
    recovering.on("blocked", () => this.#setBlocked(true));
    recovering.on("unblocked", () => this.#setBlocked(false));
    recovering.on("connect", (model: amqp.ChannelModel) => {
      if (this.#failure !== undefined && this.#opened) log.info("RabbitMQ can be reached again");
      this.#failure = undefined;
      this.#connected.resolve(model);
    });
    recovering.on("connect-failed", (error: Error) => {
      const failure = connectFailure(error, settings);
      // Once for each outage and reason: it is tried every two seconds.
      if (this.#failure?.message !== failure.message && this.#opened) {
        log.warn("{failure}", { failure: failure.message });
      }
      this.#failure = failure;
    });
    recovering.on("disconnect", () => {
      this.#connected = Promise.withResolvers();
      this.#setBlocked(false);
    });
  }

  /**
   * Connects, trying again a few times while the server may be starting up.
   *
   * @param settings Where and as whom.
   * @param name What RabbitMQ's lists of connections call it.
   * @param options Ends the wait.
   * @returns The connection.
   * @throws {QueueError} `broker-refused` or `broker-unreachable`.
   */
  static async open(settings: Settings, name: string, { signal }: Abortable = {}): Promise<Connection> {
    signal?.throwIfAborted();
    const ended = new AbortController();
    const { promise: failed, reject: fail } = Promise.withResolvers<never>();
    failed.catch(() => {});
    const link: Link = { gone: Promise.resolve() };
    const recovering = await connect(settings, name, link, ended.signal);
    // Without a listener each of amqplib's errors would end the process; all of them are followed by 'disconnect' or 'connect-failed'.
    recovering.on("error", () => {});
    recovering.on("connect-failed", (error: Error) => isTransient(error) || fail(error));
    const connection = new Connection(settings, recovering, link, ended);
    const abort = () => fail(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await Promise.race([recovering.waitForConnect(), failed]);
      connection.#opened = true;
      return connection;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw signal?.aborted ? signal.reason : connectFailure(error, settings);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Aborts when we begin to close the connection. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Aborts when it is closed, whether or not the broker answered. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** To be called before something is sent: what is sent together is written together, since a call to the system for each costs more than the rest. */
  gather(): void {
    if (this.#link.socket !== undefined) gather(this.#link.socket);
  }

  /** Why there is no connection, if it was tried in vain since the last one was lost. */
  get failure(): QueueError | undefined {
    return this.#failure;
  }

  /** Whether the broker takes no messages at the moment, being short of memory or disk. */
  get blocked(): boolean {
    return this.#blocked;
  }

  /** @param listener Called when {@linkcode blocked} may have changed. */
  onBlockedChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** @throws {QueueError} `closed`. */
  throwIfClosed(): void {
    if (this.#closed !== undefined) throw closedFailure();
  }

  /**
   * Opens a channel as soon as there is a connection.
   *
   * @throws {QueueError} `closed`, or `broker-unreachable` if it takes longer than 30 s.
   */
  channel(options: Abortable = {}): Promise<amqp.Channel> {
    return this.#open((model) => model.createChannel(), options);
  }

  /** The same, with publisher confirms. */
  confirmChannel(options: Abortable = {}): Promise<amqp.ConfirmChannel> {
    return this.#open((model) => model.createConfirmChannel(), options);
  }

  /**
   * Runs one operation on a channel of its own, since any error closes the channel.
   *
   * @param queue Named in errors.
   * @param operation What to do.
   * @returns The operation's result.
   * @throws {QueueError} What RabbitMQ answered.
   */
  async withChannel<T>(
    queue: string,
    operation: (channel: amqp.Channel) => Promise<T>,
    options: Abortable = {},
  ): Promise<T> {
    const channel = await this.channel(options);
    try {
      return await this.answer(operation(channel), queue, options);
    } finally {
      closeChannel(channel);
    }
  }

  /** Waits for the broker's answer, at most 30 s. @throws {QueueError} What RabbitMQ answered. */
  async answer<T>(promise: Promise<T>, queue: string, { signal }: Abortable = {}): Promise<T> {
    try {
      return await deadline(promise, ANSWER_MS, signal === undefined ? {} : { signal });
    } catch (error) {
      signal?.throwIfAborted();
      this.throwIfClosed();
      throw this.#failure ?? operationFailure(error, queue, this.settings);
    }
  }

  /** Says goodbye, for at most 3 s, and closes every socket. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(closedFailure());
    // amqplib does not keep the order of frames between channels: the connection's goodbye would overtake the last acknowledgements.
    for (const channel of this.#channels.keys()) closeChannel(channel);
    await deadline(Promise.all(this.#channels.values()), GOODBYE_MS).catch(() => {});
    // If the connection is cut meanwhile, amqplib waits for the answer for ever.
    await deadline(Promise.race([this.#recovering.close(), this.#link.gone]), GOODBYE_MS).catch(() => {});
    this.#ended.abort();
  }

  async #open<C extends amqp.Channel>(
    create: (model: amqp.ChannelModel) => Promise<C>,
    { signal }: Abortable,
  ): Promise<C> {
    signal?.throwIfAborted();
    this.throwIfClosed();
    const ended = AbortSignal.any([this.closing, ...(signal === undefined ? [] : [signal])]);
    let abandoned = false;
    const opening = this.#create(create, ended).then((channel) => {
      channel.on("error", () => {});
      const { promise: gone, resolve } = Promise.withResolvers<void>();
      this.#channels.set(channel, gone);
      channel.on("close", () => {
        this.#channels.delete(channel);
        resolve();
      });
      if (abandoned) closeChannel(channel);
      return channel;
    });
    try {
      return await this.answer(opening, "", { signal: ended });
    } catch (error) {
      abandoned = true;
      throw error;
    }
  }

  /** A connection that was cut a moment ago may still seem to be there, so the first failures say little. */
  async #create<C>(create: (model: amqp.ChannelModel) => Promise<C>, signal: AbortSignal): Promise<C> {
    for (let attempt = 0;; attempt++) {
      const model = await abortable(this.#connected.promise, signal);
      try {
        return await create(model);
      } catch (error) {
        if (attempt === RETRIES) throw error;
        await delay(50 << attempt, { signal });
      }
    }
  }

  #setBlocked(blocked: boolean): void {
    this.#blocked = blocked;
    for (const listener of this.#listeners) listener();
  }
}

/** Closes a channel that is no longer needed. Nobody waits for it: if it fails, the channel is gone anyway. */
export function closeChannel(channel: amqp.Channel): void {
  try {
    channel.close().catch(() => {});
  } catch {
    // It was closed already.
  }
}

/** Holds back what is written, up to the turn of the event loop after the next: in the next one amqplib writes what it is given in this one. */
function gather(socket: Socket): void {
  if (socket.writableCorked > 0) return;
  socket.cork();
  setImmediate(() => setImmediate(() => socket.uncork()));
}

/** The connection of the moment. */
interface Link {
  /** Its socket. */
  socket?: Socket | undefined;
  /** Resolves when it is closed, by whomever. */
  gone: Promise<void>;
}

/** Returns before there is a connection, so that each attempt can be watched. */
function connect(
  settings: Settings,
  name: string,
  link: Link,
  signal: AbortSignal,
): Promise<amqp.RecoveringChannelModel> {
  const { tls } = settings;
  const options: amqp.SocketOptions & { recovery: amqp.RecoveryOptions; signal: AbortSignal } = {
    timeout: settings.connectTimeoutMs,
    noDelay: true,
    keepAlive: true,
    clientProperties: { connection_name: name },
    // amqplib only half-closes a socket, and a broker that hangs never closes its half. This ends them all, those just being opened too.
    signal,
    ...(tls === false || tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls === false || tls.servername === undefined ? {} : { servername: tls.servername }),
    recovery: {
      initialDelay: 200,
      maxDelay: 2_000,
      initialMaxRetries: RETRIES,
      waitForConnect: false,
      setup: (model: amqp.ChannelModel) => {
        model.on("error", () => {});
        const gone = Promise.withResolvers<void>();
        link.gone = gone.promise;
        const stream = "stream" in model.connection && model.connection.stream instanceof Socket
          ? model.connection.stream
          : undefined;
        link.socket = stream;
        // Before amqplib's own listener, which goes on writing.
        stream?.prependListener("drain", () => gather(stream));
        model.on("close", () => {
          stream?.destroySoon();
          gone.resolve();
        });
        return Promise.resolve();
      },
    },
  };
  return amqp.connect({
    protocol: tls === false ? "amqp" : "amqps",
    hostname: settings.host,
    port: settings.port,
    username: settings.username,
    password: settings.password,
    // The one text that amqplib unescapes.
    vhost: encodeURIComponent(settings.vhost),
    heartbeat: settings.heartbeatSeconds,
  }, options);
}
