import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";

/** The server's end of TLS over a connection. @param socket Nothing of TLS was read from it yet. @param context Certificate and key. */
export function secured(socket: Socket, context: SecureContext): TLSSocket {
  return new TLSSocket(socket, { isServer: true, secureContext: context });
}
