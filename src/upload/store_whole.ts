import { type FTPContext, FTPError } from "basic-ftp";
import { finished } from "node:stream";
import { TLSSocket } from "node:tls";

/** How a file is sent in one write. */
export interface StoreWholeOptions {
  /** Longest time without any progress, on the data connection and then on the control connection, in milliseconds. */
  readonly timeoutMs: number;
  /** Called once the content was handed to the connection. */
  readonly onWritten?: (() => void) | undefined;
}

/**
 * Uploads what is in memory over the data connection that is ready, in one write. The client's own way, a pipeline of streams with a watch over it, takes
 * a fifth more processor time for a file of 100 KiB.
 *
 * @param ftp Open, without a command that is under way; says 125 or 150 only once the server at the other end of the data connection was verified.
 * @param name Of the file there, without control characters.
 * @param content All of it.
 * @param options Time-out, and who is told.
 * @throws Whatever the server refuses with, or has ended one of the connections. The data connection is closed in any case.
 */
export async function storeWhole(
  ftp: FTPContext,
  name: string,
  content: Uint8Array,
  { timeoutMs, onWritten }: StoreWholeOptions,
): Promise<void> {
  let [begun, sent, confirmed] = [false, false, false];
  try {
    await ftp.handle(`STOR ${name}`, (reply, task) => {
      if (reply instanceof Error) {
        ftp.dataSocket = undefined; // and what it would still say: no clock is to be set after the task
        return task.reject(reply);
      }
      if (reply.code >= 300) return ftp.closeWithError(new FTPError(reply)); // it waits for something that we do not know
      if (reply.code >= 200) confirmed = true;
      if (confirmed && sent) return task.resolve(undefined);
      if (begun || (reply.code !== 125 && reply.code !== 150)) return;
      begun = true;
      const data = ftp.dataSocket;
      if (!(data instanceof TLSSocket)) return task.reject(new Error("No connection for the transfer (data socket)"));
      // The server says nothing while it receives, and receives nothing while it says how it went.
      ftp.socket.setTimeout(0);
      data.setTimeout(timeoutMs);
      finished(data, { readable: false }, (error) => {
        if (error) return task.reject(error);
        data.setTimeout(0);
        ftp.socket.setTimeout(timeoutMs);
        sent = true;
        if (confirmed) task.resolve(undefined);
      });
      if (content.length === 0) data.end(); // Deno 2.9 refuses to write nothing (EPERM)
      else data.end(content);
      onWritten?.();
    });
  } finally {
    ftp.dataSocket = undefined;
  }
}
