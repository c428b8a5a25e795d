/**
 * Patient queues: study messages, the broker interface with its two implementations (RabbitMQ and a PostgreSQL table), and the consumer that works
 * through a queue at the pace of a rate limiter.
 *
 * @module
 */
export { type ErrorKind, PixlError } from "../errors.ts";
export * from "./backoff.ts";
export * from "./broker.ts";
export * from "./consumer.ts";
export * from "./consumer_options.ts";
export * from "./dead_letters.ts";
export * from "./drain.ts";
export * from "./errors.ts";
export * from "./message.ts";
export { MessageFileError, type MessageFileErrorCode } from "./message_file_error.ts";
export * from "./outcome.ts";
export * from "./postgres/postgres_broker.ts";
export * from "./rabbitmq/mod.ts";
export * from "./restore.ts";
