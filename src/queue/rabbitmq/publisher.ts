import { abortable } from "@std/async";
import type { OutgoingMessage, PublishOptions } from "../broker.ts";
import { PublishError, QueueError } from "../errors.ts";
import { Confirms, type Letter, type Sent } from "./confirms.ts";
import type { Connection } from "./connection.ts";
import { Window } from "./window.ts";

/** Most messages, and bytes, that wait for their confirmation at once. More than a thousand gain nothing. */
const IN_FLIGHT = { messages: 1_000, bytes: 8 << 20 } as const;
const TIMEOUT_MS = 30_000;

type Messages = Iterable<OutgoingMessage> | AsyncIterable<OutgoingMessage>;

/** Publishes so that nothing is lost unnoticed: persistent, mandatory, confirmed. */
export class Publisher {
  readonly #connection: Connection;
  readonly #confirms: Confirms;
  readonly #window = new Window(IN_FLIGHT.messages, IN_FLIGHT.bytes);

  /** @param connection The connection to use. */
  constructor(connection: Connection) {
    this.#connection = connection;
    this.#confirms = new Confirms(connection);
  }

  /**
   * Publishes any number of messages; see {@linkcode Broker.publish}.
   *
   * Messages that are in flight when the connection is cut count as not confirmed; the rest follow once it is back. After a time-out the rest are not
   * tried, only listed.
   */
  async publish(
    queue: string,
    messages: Messages,
    { signal, timeoutMs = TIMEOUT_MS }: PublishOptions = {},
  ): Promise<number> {
    signal?.throwIfAborted();
    this.#connection.throwIfClosed();
    const inFlight = new Map<Sent, Promise<void>>();
    const unconfirmed: string[] = [];
    let confirmed = 0;
    let cause: unknown;
    let hopeless = false;
    const missed = (id: string, error: unknown) => {
      unconfirmed.push(id);
      cause ??= error;
      hopeless ||= error instanceof QueueError && error.code !== "queue-missing";
    };

    const launch = async (message: OutgoingMessage) => {
      const { messageId, body } = message;
      if (hopeless) return missed(messageId, cause);
      if (!this.#window.tryEnter(body.length)) {
        await this.#window.enter(body.length, signal === undefined ? {} : { signal });
      }
      let sent: Sent;
      try {
        const channel = this.#confirms.usable ??
          await this.#confirms.ready(timeoutMs, signal === undefined ? {} : { signal });
        sent = this.#confirms.send(channel, queue, message, timeoutMs);
      } catch (error) {
        this.#window.leave(body.length);
        signal?.throwIfAborted();
        return missed(messageId, error);
      }
      const done = sent.confirmed.then(() => {
        confirmed++;
      }, (error) => missed(messageId, error)).finally(() => {
        this.#window.leave(body.length);
        inFlight.delete(sent);
      });
      inFlight.set(sent, done);
    };

    try {
      for await (const message of untilAborted(messages, signal)) await launch(message);
    } catch (error) {
      // Nothing goes on behind the caller's back.
      for (const sent of inFlight.keys()) sent.giveUp(error);
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
   * @throws {PublishError} If it was not confirmed.
   */
  async send(queue: string, letter: Letter): Promise<void> {
    try {
      const channel = this.#confirms.usable ?? await this.#confirms.ready(TIMEOUT_MS);
      await this.#confirms.send(channel, queue, letter, TIMEOUT_MS).confirmed;
    } catch (cause) {
      throw new PublishError(queue, [letter.messageId], 0, { cause });
    }
  }

  async #settled(inFlight: ReadonlyMap<Sent, Promise<void>>, signal: AbortSignal | undefined): Promise<void> {
    const all = Promise.all(inFlight.values());
    try {
      await (signal === undefined ? all : abortable(all, signal));
    } catch (error) {
      for (const sent of inFlight.keys()) sent.giveUp(error);
      throw error;
    }
  }
}

/** The messages, until the signal aborts: also while the source says nothing. The source is closed in any case. */
async function* untilAborted(messages: Messages, signal: AbortSignal | undefined): AsyncGenerator<OutgoingMessage> {
  if (Symbol.iterator in messages) {
    for (const message of messages) {
      signal?.throwIfAborted();
      yield message;
    }
    return;
  }
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
