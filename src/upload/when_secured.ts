import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";

/**
 * Calls back once the other end of a data connection was verified.
 *
 * @param data The connection; its handshake may be under way.
 * @param done Called once, with what ended the connection if it is gone before. No clock is set: that of the control connection runs on.
 */
export function whenSecured(data: Socket | undefined, done: (error?: Error) => void): void {
  const gone = () => done(data?.errored ?? new Error("Connection closed before the transfer (data socket)"));
  if (data === undefined || data.destroyed) return gone();
  if (!(data instanceof TLSSocket) || data.authorized) return done();
  const secured = () => {
    data.off("close", gone);
    done();
  };
  data.once("secureConnect", secured).once("close", gone);
}
