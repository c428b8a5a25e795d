import { httpRequest } from "../pipeline/http_request.ts";
import { netHost } from "./access.ts";
import { ConfigError, HandlerError } from "./errors.ts";

/** Words of a command line that name queues and where their studies are sent. */
export interface HandlerWords {
  readonly queues: readonly string[];
  readonly handlers: readonly string[];
}

/** An option that takes many words also takes the queues behind it: a word that can only be a queue's name is one. */
export function sortWords({ queues, handlers }: HandlerWords): HandlerWords {
  const isQueue = (word: string) => /^[A-Za-z0-9][A-Za-z0-9._-]*(=(image|report))?$/.test(word);
  return {
    queues: [...queues, ...handlers.filter(isQueue)],
    handlers: handlers.filter((word) => !isQueue(word)),
  };
}

/** One URL for each queue, from `URL` for all or `QUEUE=URL` for one. */
export function handlerUrls(queues: readonly string[], handlers: readonly string[]): Map<string, URL> {
  const problems: string[] = [];
  const urls = new Map<string, URL>();
  for (const handler of handlers) {
    // Never quoted: a URL may hold a password.
    const [, named, text = ""] = /^(?:([A-Za-z0-9._-]+)=)?(.*)$/.exec(handler) ?? [];
    const url = URL.parse(text);
    const which = named === undefined ? "--handler" : `--handler ${named}=…`;
    if (url === null || !/^https?:$/.test(url.protocol)) problems.push(`${which} must be a URL of http or https`);
    else if (url.username !== "" || url.password !== "") {
      problems.push(`${which} must hold no user name and no password`);
    } else if (named === undefined) queues.forEach((queue) => urls.has(queue) || urls.set(queue, url));
    else if (queues.includes(named)) urls.set(named, url);
    else problems.push(`${which} is for a queue that is not consumed`);
  }
  for (const queue of queues) {
    if (!urls.has(queue) && problems.length === 0) {
      problems.push(`Queue '${queue}' has no handler: add --handler ${queue}=URL`);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return urls;
}

/** Host and port as Deno's permissions have them. */
export function hostAndPort(url: URL): string {
  return `${netHost(url.hostname)}:${url.port || (url.protocol === "https:" ? "443" : "80")}`;
}

/** Most time for a handler to say that it is there, in milliseconds. */
const PATIENCE_MS = 5_000;

/**
 * Asks a handler for nothing (`OPTIONS`, RFC 9110 section 9.3.7): any answer says that it is there.
 *
 * @returns The status.
 * @throws {HandlerError} If it does not answer.
 */
export async function tryHandler(url: URL, signal: AbortSignal): Promise<number> {
  try {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    return (await httpRequest(url, { method: "OPTIONS", signal: patience })).status;
  } catch (cause) {
    signal.throwIfAborted();
    throw new HandlerError(hostAndPort(url), { cause });
  }
}
