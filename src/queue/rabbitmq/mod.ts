/**
 * Patient queues in RabbitMQ.
 *
 * @module
 */
export * from "./broker.ts";
export type { RabbitmqOptions, RabbitmqTls } from "./options.ts";
