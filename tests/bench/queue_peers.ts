import { Buffer } from "node:buffer";
import * as amqp from "amqplib";
import { Connection } from "rabbitmq-client";
import type { RabbitmqAddress } from "../support/rabbitmq.ts";

const IN_FLIGHT = 1_000;
const PREFETCH = 100;

type Messages = Iterable<{ readonly messageId: string; readonly body: Uint8Array }>;

/** A client of RabbitMQ that works as a program would write it. */
export interface RabbitmqClient extends AsyncDisposable {
  publish(queue: string, messages: Messages): Promise<void>;
  consume(queue: string, count: number): Promise<void>;
}

/** The fastest loop over amqplib that we know of, as a user would write it who wants confirms. */
export async function openAmqplib({ host, port, username, password }: RabbitmqAddress): Promise<RabbitmqClient> {
  const connection = await amqp.connect({ hostname: host, port, username, password }, { noDelay: true });
  return {
    publish: async (queue, messages) => {
      const channel = await connection.createConfirmChannel();
      let inFlight = 0;
      let failure: unknown;
      let wake = () => {};
      for (const { messageId, body } of messages) {
        inFlight++;
        channel.sendToQueue(queue, Buffer.from(body.buffer), { messageId, persistent: true }, (error) => {
          failure ??= error;
          inFlight--;
          wake();
        });
        if (inFlight >= IN_FLIGHT) await new Promise<void>((resolve) => wake = resolve);
      }
      await channel.waitForConfirms();
      await channel.close();
      if (failure) throw failure;
    },
    consume: async (queue, count) => {
      const channel = await connection.createChannel();
      await channel.prefetch(PREFETCH);
      const all = Promise.withResolvers<void>();
      let done = 0;
      await channel.consume(queue, (message) => {
        if (message === null) return;
        channel.ack(message);
        if (++done === count) all.resolve();
      });
      await all.promise;
      await channel.close();
    },
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

/** The other client of Node, as its documentation uses it. */
export function openRabbitmqClient(
  { host, port, username, password }: RabbitmqAddress,
): Omit<RabbitmqClient, "consume"> {
  const connection = new Connection({ hostname: host, port, username, password });
  return {
    publish: async (queue, messages) => {
      const publisher = connection.createPublisher({ confirm: true });
      let inFlight = 0;
      let failure: unknown;
      let wake = () => {};
      for (const { messageId, body } of messages) {
        inFlight++;
        publisher.send({ routingKey: queue, messageId, durable: true }, Buffer.from(body.buffer))
          .catch((error: unknown) => failure ??= error)
          .finally(() => {
            inFlight--;
            wake();
          });
        if (inFlight >= IN_FLIGHT) await new Promise<void>((resolve) => wake = resolve);
      }
      while (inFlight > 0) await new Promise<void>((resolve) => wake = resolve);
      await publisher.close();
      if (failure) throw failure;
    },
    [Symbol.asyncDispose]: () => connection.close(),
  };
}
