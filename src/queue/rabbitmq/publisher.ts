import { abortable, delay } from "@std/async";
import type { Abortable, OutgoingMessage, PublishOptions } from "../broker.ts";
import { PublishError, QueueError } from "../errors.ts";
import { Confirms, type Letter, type Patience, type Sent } from "./confirms.ts";
import { checkTime } from "../check_time.ts";
import type { Connection } from "./connection.ts";
import { propertiesOf } from "./properties.ts";
import { Window } from "./window.ts";

/** Most messages, and bytes, that wait for their confirmation at once. More than a thousand gain nothing. */
const IN_FLIGHT = { messages: 1_000, bytes: 8 << 20 } as const;
const TIMEOUT_MS = 30_000;
/** The time for all attempts of a message: longer than a broker takes to start. */
const RETRY_TIMEOUT_MS = 300_000;
const RETRY_PAUSE_MS = 100;

/** A message whose confirmation is awaited, perhaps of its second sending. */
interface Flight {
  sent: Sent;
  /** The call has ended: nothing more is sent. */
  over: boolean;
}

type Messages = Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>;

/** Publishes so that nothing is lost unnoticed: persistent, mandatory, confirmed. */
export class Publisher {
  readonly #connection: Connection;
  readonly #confirms: Confirms;

  /** @param connection The connection to use. */
  constructor(connection: Connection) {
    this.#connection = connection;
    this.#confirms = new Confirms(connection);
  }

  /**
   * Publishes any number of messages; see {@linkcode Broker.publish}.
   *
   * Messages that are in flight when the connection is cut count as not confirmed, or are sent again; the rest follow once it is back. After a time-out
   * the rest are not tried, only listed.
   */
  async publish(
    queue: string,
    messages: Messages,
    { signal, retry = false, timeoutMs = retry ? RETRY_TIMEOUT_MS : TIMEOUT_MS }: PublishOptions = {},
  ): Promise<number> {
    signal?.throwIfAborted();
    this.#connection.throwIfClosed();
    checkTime("publish", "timeoutMs", timeoutMs, 1);
    // Each call has its own, so that none waits longer than its own messages may take.
    const window = new Window(IN_FLIGHT.messages, IN_FLIGHT.bytes);
    const abort = signal === undefined ? {} : { signal };
    const inFlight = new Map<Flight, Promise<void>>();
    const unconfirmed: string[] = [];
    let confirmed = 0;
    let cause: unknown;
    let hopeless = false;
    const missed = (id: string, error: unknown) => {
      unconfirmed.push(id);
      cause ??= error;
      hopeless ||= error instanceof QueueError && error.code !== "queue-missing";
    };

    const follow = (letter: Letter, until: number, sent: Sent) => {
      const flight = { sent, over: false };
      const land = () => {
        window.leave(letter.body.length);
        inFlight.delete(flight);
      };
      const confirmation = retry ? this.#insist(queue, letter, until, flight, abort) : sent.confirmed;
      const done = confirmation.then(() => {
        land();
        confirmed++;
      }, (error) => {
        land();
        missed(letter.messageId, error);
      });
      inFlight.set(flight, done);
    };
    const launchLater = async (letter: Letter) => {
      await window.enter(letter.body.length, abort);
      if (hopeless) {
        window.leave(letter.body.length);
        return missed(letter.messageId, cause);
      }
      const until = performance.now() + timeoutMs;
      let sent: Sent;
      try {
        sent = await this.#launch(queue, letter, until, abort);
      } catch (error) {
        window.leave(letter.body.length);
        signal?.throwIfAborted();
        return missed(letter.messageId, error);
      }
      follow(letter, until, sent);
    };
    /** At once, without a promise, where nothing is in the way. */
    const launch = (message: OutgoingMessage): Promise<void> | undefined => {
      const { messageId, body } = message;
      const letter = { messageId, body, properties: propertiesOf(message) };
      if (hopeless) {
        missed(messageId, cause);
        return undefined;
      }
      const channel = this.#confirms.usable;
      if (channel === undefined || !window.tryEnter(body.length)) return launchLater(letter);
      follow(letter, performance.now() + timeoutMs, this.#confirms.send(channel, queue, letter, { timeoutMs }));
      return undefined;
    };

    try {
      if (Symbol.iterator in messages) {
        for (const message of messages) {
          signal?.throwIfAborted();
          await launch(message);
        }
      } else {
        for await (const message of untilAborted(messages, signal)) await launch(message);
      }
    } catch (error) {
      // Nothing goes on behind the caller's back.
      giveUp(inFlight.keys(), error);
      throw error;
    }
    await this.#settled(inFlight, signal);
    if (unconfirmed.length > 0) throw new PublishError(queue, unconfirmed, confirmed, { cause });
    return confirmed;
  }

  /**
   * Publishes one message.
   *
   * @param queue A queue of RabbitMQ.
   * @param letter The message.
   * @param options `signal` ends the wait until it can be sent; `bearsAlarm` as in {@linkcode Patience}.
   * @throws The signal's reason.
   * @throws {PublishError} If it was not confirmed.
   */
  async send(
    queue: string,
    letter: Letter,
    { bearsAlarm = false, ...options }: Abortable & Pick<Patience, "bearsAlarm"> = {},
  ): Promise<void> {
    try {
      const patience = { timeoutMs: TIMEOUT_MS, bearsAlarm };
      const channel = this.#confirms.usable ?? await this.#confirms.ready(patience, options);
      const sent = this.#confirms.send(channel, queue, letter, patience);
      await sent.confirmed;
    } catch (cause) {
      // It was not sent: afterwards nothing but the confirmation counts.
      if (options.signal?.aborted && cause === options.signal.reason) throw cause;
      throw new PublishError(queue, [letter.messageId], 0, { cause });
    }
  }

  /** Waits until the broker takes messages and sends one. */
  async #launch(queue: string, letter: Letter, until: number, abort: Abortable): Promise<Sent> {
    const channel = this.#confirms.usable ?? await this.#confirms.ready(left(until), abort);
    return this.#confirms.send(channel, queue, letter, left(until));
  }

  /** Sends a message again until it is confirmed, its time is over, or that cannot help. */
  async #insist(queue: string, letter: Letter, until: number, flight: Flight, abort: Abortable): Promise<void> {
    for (;;) {
      try {
        return await flight.sent.confirmed;
      } catch (error) {
        const vain = error instanceof QueueError && error.code !== "broker-unreachable";
        if (vain || performance.now() + RETRY_PAUSE_MS >= until) throw error;
        await delay(RETRY_PAUSE_MS, abort);
        const channel = this.#confirms.usable ?? await this.#confirms.ready(left(until), abort);
        if (flight.over) throw error;
        flight.sent = this.#confirms.send(channel, queue, letter, left(until));
      }
    }
  }

  async #settled(inFlight: ReadonlyMap<Flight, Promise<void>>, signal: AbortSignal | undefined): Promise<void> {
    const all = Promise.all(inFlight.values());
    try {
      await (signal === undefined ? all : abortable(all, signal));
    } catch (error) {
      giveUp(inFlight.keys(), error);
      throw error;
    }
  }
}

function left(until: number): Patience {
  return { timeoutMs: until - performance.now() };
}

function giveUp(flights: Iterable<Flight>, reason: unknown): void {
  for (const flight of flights) {
    flight.over = true;
    flight.sent.giveUp(reason);
  }
}

/** The messages, until the signal aborts: also while the source says nothing. The source is closed in any case. */
async function* untilAborted(
  messages: AsyncIterable<OutgoingMessage>,
  signal: AbortSignal | undefined,
): AsyncGenerator<OutgoingMessage> {
  const source = messages[Symbol.asyncIterator]();
  let open = true;
  try {
    for (;;) {
      const next = source.next();
      const result = await (signal === undefined ? next : abortable(next, signal));
      signal?.throwIfAborted();
      open = result.done !== true;
      if (result.done === true) return;
      yield result.value;
    }
  } catch (error) {
    open = signal?.aborted === true;
    throw error;
  } finally {
    // A source that says nothing does not answer this either.
    if (open) source.return?.()?.catch(() => {});
  }
}
