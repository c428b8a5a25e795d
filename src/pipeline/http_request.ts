import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

/** An answer over HTTP. */
export interface Reply {
  readonly status: number;
  readonly text: string;
  /** The header `Retry-After`, `null` if there is none. */
  readonly retryAfter: string | null;
}

/** A reply is read up to so many bytes; a radiology report has a few thousand. */
const MAX_REPLY_BYTES = 16 << 20;

/** What is asked. */
export interface HttpRequest {
  readonly method: "POST" | "OPTIONS";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON; nothing if `undefined`. */
  readonly json?: unknown;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/**
 * Asks over HTTP. Follows no redirect and uses no proxy: Deno's `fetch` sends through the proxy that `HTTP_PROXY` names whatever the permissions
 * are, and a study must reach nobody but the host that was named.
 *
 * @param url Where to.
 * @param options What.
 * @returns The reply, read to its end.
 * @throws What the network throws, and `RangeError` if the reply is too long.
 */
export async function httpRequest(url: URL, { method, headers, json, signal }: HttpRequest): Promise<Reply> {
  const body = json === undefined ? undefined : new TextEncoder().encode(JSON.stringify(json));
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const request = (url.protocol === "https:" ? requestHttps : requestHttp)(url, {
    method,
    agent: false,
    headers: { ...headers, ...(body && { "content-type": "application/json", "content-length": body.length }) },
    signal,
  }, (response) => {
    const decoder = new TextDecoder();
    let [text, bytes] = ["", 0];
    response.on("data", (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes > MAX_REPLY_BYTES) request.destroy(new RangeError(`The reply has more than ${MAX_REPLY_BYTES} bytes`));
      else text += decoder.decode(chunk, { stream: true });
    });
    response.on("end", () => {
      if (!response.complete) return reject(new Error("The reply was cut off"));
      resolve({
        status: response.statusCode ?? 0,
        text: text + decoder.decode(),
        retryAfter: response.headers["retry-after"] ?? null,
      });
    });
    response.on("error", reject);
    response.on("close", () => reject(new Error("The reply was cut off")));
  });
  request.on("error", reject);
  request.end(body);
  return await promise;
}
