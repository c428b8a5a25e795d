import { deadline } from "@std/async";
import type { Channel, Message } from "amqplib";
import type { Abortable, KeptMessage, Verdict } from "../broker.ts";
import { PixlError } from "../../errors.ts";
import type { Connection } from "./connection.ts";
import { operationFailure } from "./failure.ts";
import { deathOf, publishedAtOf, readProperties } from "./properties.ts";

/** A silence after which RabbitMQ is asked whether anything is left, in milliseconds. */
const SILENCE_MS = 200;

/** What a walk does. */
export interface Walk {
  /** Most messages of a visit. */
  readonly batch: number;
  /** Looks at a batch, never empty. */
  readonly visit: (batch: readonly Message[]) => Promise<readonly Verdict[]>;
  /** Carries out a verdict but `delete`; what it does not answer is answered at the end. */
  readonly execute: (message: Message, verdict: "keep" | "requeue") => Promise<void>;
}

/**
 * Shows each message that is in a queue now, once, in its order.
 *
 * Each batch has a consumer of its own, whose prefetch is the batch: asking for one message at a time (basic.get) takes a round trip for each.
 *
 * @param connection The channel's.
 * @param channel Used for nothing else.
 * @param queue A queue of RabbitMQ.
 * @returns How many were shown.
 */
export async function walkQueue(
  connection: Connection,
  channel: Channel,
  queue: string,
  { visit, execute, batch: size }: Walk,
  options: Abortable,
): Promise<number> {
  const count = async () => (await connection.answer(channel.checkQueue(queue), queue, options)).messageCount;
  const total = await count();
  let shown = 0;
  while (shown < total) {
    const batch = await take(Math.min(size, total - shown));
    if (batch.length === 0) break;
    shown += batch.length;
    let verdicts: readonly Verdict[];
    try {
      verdicts = await visit(batch);
    } catch (error) {
      await Promise.all(batch.map((message) => execute(message, "keep")));
      throw error;
    }
    try {
      await Promise.all(batch.map(async (message, i) => {
        const verdict = verdicts[i] ?? "keep";
        if (verdict === "delete") channel.ack(message);
        else await execute(message, verdict);
      }));
    } catch (error) {
      // Of a closed channel amqplib only says that it is closed.
      throw error instanceof PixlError ? error : operationFailure(error, queue, connection.settings);
    }
  }
  await settle();
  return shown;

  /**
   * Waits until RabbitMQ has done what was acknowledged. Beyond 32 a quorum queue's channel holds acknowledgements back until the first are done (the soft
   * limit of rabbit_fifo_client), and a channel that is closed forgets those. A consumer is only begun when what the channel sent before is done: the
   * first time that frees what was held back, the second time that is done too.
   */
  async function settle(): Promise<void> {
    await connection.answer(channel.prefetch(1, false), queue, options);
    for (let i = 0; i < 2; i++) {
      const { consumerTag } = await connection.answer(channel.consume(queue, () => {}), queue, options);
      await connection.answer(channel.cancel(consumerTag), queue, options);
    }
  }

  /** Up to so many messages; fewer if no more are left. */
  async function take(most: number): Promise<Message[]> {
    const batch: Message[] = [];
    const full = Promise.withResolvers<void>();
    const consuming = async () => {
      await channel.prefetch(most, false);
      return await channel.consume(queue, (message) => {
        // Null if the queue was deleted, which the next count finds out.
        if (message !== null && batch.push(message) === most) full.resolve();
      });
    };
    const { consumerTag } = await connection.answer(consuming(), queue, options);
    for (let before = -1; batch.length < most;) {
      await deadline(full.promise, SILENCE_MS).catch(() => {});
      const left = await count();
      if (left === 0 && batch.length === before) break;
      before = batch.length;
    }
    await connection.answer(channel.cancel(consumerTag), queue, options);
    return batch;
  }
}

/** What is shown of a message that waits. */
export function keptMessage({ content, properties }: Message): KeptMessage {
  const publishedAt = publishedAtOf(properties);
  return {
    ...readProperties(properties),
    ...(publishedAt === undefined ? {} : { publishedAt }),
    body: new Uint8Array(content),
  };
}

/** What is shown of a dead letter. */
export function deadLetter(message: Message): KeptMessage {
  return { ...keptMessage(message), death: deathOf(message.properties) };
}
