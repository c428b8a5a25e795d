import { QueueError } from "../errors.ts";
import type { Settings } from "./options.ts";

/** AMQP 0-9-1 reply codes, section 1.2 of the specification's generated document. */
const REPLY = { accessRefused: 403, notFound: 404, preconditionFailed: 406 } as const;

const address = ({ host, port }: Settings) => `${host}:${port}`;

/** Whether trying again soon may help: the server is starting up or the connection was cut. */
export function isTransient(error: unknown): boolean {
  return ["ECONNREFUSED", "ECONNRESET", "EPIPE", "EAI_AGAIN"].includes(String(codeOf(error))) ||
    isHangUp(error);
}

function isHangUp(error: unknown): boolean {
  return /Socket closed abruptly|Unexpected close/.test(textOf(error));
}

/** Why no connection was made. */
export function connectFailure(error: unknown, settings: Settings): QueueError {
  const where = address(settings);
  const cause = { cause: error };
  const text = textOf(error);
  if (error instanceof QueueError) return error;
  if (error instanceof Error && error.name === "NotCapable") {
    return new QueueError("broker-refused", `Cannot connect to RabbitMQ: run with --allow-net=${where}`, cause);
  }
  if (/ACCESS.REFUSED/.test(text)) {
    return new QueueError(
      "broker-refused",
      `RabbitMQ at ${where} refused the login of '${settings.username}': check user name and password`,
      cause,
    );
  }
  // amqplib tells no more of a Connection.Close that answers Connection.Open.
  if (/Expected ConnectionOpenOk; got <ConnectionClose/.test(text)) {
    return new QueueError(
      "broker-refused",
      `RabbitMQ at ${where} refused virtual host '${settings.vhost}' to '${settings.username}': check that it exists and that the user may use it`,
      cause,
    );
  }
  if (isCertificateProblem(error)) {
    return new QueueError(
      "broker-refused",
      `Cannot verify the certificate of RabbitMQ at ${where} (${
        codeOf(error)
      }): give the authority that signed it and the name in it, and see that it has not expired`,
      cause,
    );
  }
  if (String(codeOf(error)).startsWith("ERR_SSL_")) {
    return new QueueError("broker-refused", `RabbitMQ at ${where} does not speak TLS there: check the port`, cause);
  }
  if (/^(Frame size|Invalid frame)/.test(text)) {
    return new QueueError("broker-refused", `RabbitMQ at ${where} does not speak AMQP there: check the port`, cause);
  }
  // A port that speaks TLS cuts off whoever does not, as a server does that is starting up.
  const perhaps = settings.tls === false && codeOf(error) === "ECONNRESET" ? ", and whether it speaks TLS there" : "";
  return new QueueError(
    "broker-unreachable",
    `Cannot reach RabbitMQ at ${where} (${
      codeOf(error) ?? (isHangUp(error) ? "it hung up" : "no answer")
    }): check host and port, and that it is running${perhaps}`,
    cause,
  );
}

/** Why an operation on a queue failed. */
export function operationFailure(error: unknown, queue: string, settings: Settings): QueueError {
  if (error instanceof QueueError) return error;
  const cause = { cause: error };
  switch (codeOf(error)) {
    case REPLY.notFound:
      return missingQueue(queue, error);
    case REPLY.preconditionFailed:
      // A channel that RabbitMQ closes meanwhile answers whatever was asked of it.
      return consumerTimeout(error) ?? mismatch(queue, error);
    case REPLY.accessRefused:
      return new QueueError(
        "broker-refused",
        `RabbitMQ refused queue '${queue}' to '${settings.username}': give the user permission to configure, write and read it`,
        cause,
      );
    default:
      return new QueueError(
        "broker-unreachable",
        `RabbitMQ at ${address(settings)} did not answer (${
          codeOf(error) ?? "connection lost"
        }): check that it is running and try again`,
        cause,
      );
  }
}

/** A queue is not there. */
export function missingQueue(queue: string, cause?: unknown): QueueError {
  return new QueueError("queue-missing", `Queue '${queue}' is not there: declare it first`, { cause });
}

/** Whether RabbitMQ said that a queue is not there. */
export function isMissing(error: unknown): boolean {
  return codeOf(error) === REPLY.notFound || (error instanceof QueueError && error.code === "queue-missing");
}

/** Whether RabbitMQ said that another consumer has a queue for itself, or that there are others. */
export function isInUse(error: unknown): boolean {
  const cause = error instanceof QueueError ? error.cause : error;
  return codeOf(cause) === REPLY.accessRefused && /in exclusive use/.test(textOf(cause));
}

/** The connection was closed by us. */
export function closedFailure(what = "The connection to RabbitMQ"): QueueError {
  return new QueueError("closed", `${what} was closed: open it again`);
}

/** The delivery is someone else's now. */
export function lostFailure(why: string): QueueError {
  return new QueueError("delivery-lost", `Cannot answer the message as ${why}: it may be delivered again`);
}

function mismatch(queue: string, error: unknown): QueueError {
  const [, argument, name, wanted, current] =
    /inequivalent arg '([^']*)' for queue '(.*)' in vhost '.*': (?:received (.*?) but current is (.*?)"?$)/.exec(
      textOf(error),
    ) ?? [];
  const difference = argument === undefined
    ? "with other arguments"
    : `with another '${argument}' (${plain(current)}, not ${plain(wanted)})`;
  return new QueueError(
    "queue-mismatch",
    `Queue '${name ?? queue}' exists ${difference}: ${remedy(argument, current)}`,
    { cause: error },
  );
}

/** RabbitMQ names the first argument by the alphabet; a main queue of the other type differs in one of these. */
function remedy(argument = "", current = ""): string {
  const types = ["x-dead-letter-exchange", "x-max-priority", "x-queue-type"];
  const change = !types.includes(argument)
    ? ""
    : argument === "x-max-priority" || /none|classic/.test(current)
    ? "if it is the Python PIXL's, open RabbitMQ with queueType 'classic' (RABBITMQ_QUEUE_TYPE of pixl); if not, "
    : "open RabbitMQ with queueType 'quorum' (RABBITMQ_QUEUE_TYPE of pixl), ";
  return `${change}empty and delete it, or use another name`;
}

/** As RabbitMQ writes them: `'quorum'`, `none` or `the value '20' of type 'signedint'`. */
function plain(value = ""): string {
  return /^the value (.*) of type '\w+'$/.exec(value)?.[1] ?? value;
}

/** Why RabbitMQ closed a channel, where it is more than a cut connection. */
export function channelFailure(error: unknown): QueueError {
  return consumerTimeout(error) ?? lostFailure("the connection to RabbitMQ was cut");
}

function consumerTimeout(error: unknown): QueueError | undefined {
  const [, timeoutMs] =
    /delivery acknowledgement on channel .* timed out\. Timeout value used: (\d+) ms/.exec(textOf(error)) ?? [];
  if (timeoutMs === undefined) return undefined;
  return new QueueError(
    "delivery-lost",
    `Cannot answer the messages in hand as one of them was there longer than RabbitMQ's consumer_timeout of ${timeoutMs} ms: set it in rabbitmq.conf above the longest job`,
    { cause: error },
  );
}

function isCertificateProblem(error: unknown): boolean {
  return /CERT|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|ALTNAME/.test(String(codeOf(error)));
}

function codeOf(error: unknown): string | number | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" || typeof error.code === "number" ? error.code : undefined;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
