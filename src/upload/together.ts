import { type FTPContext, FTPError, type FTPResponse } from "basic-ftp";

/**
 * Sends commands in one piece, since for small files each way to the server and back counts.
 *
 * @param ftp Open, without a command that is under way.
 * @param commands Without control characters; none that opens a data connection.
 * @returns The answers, refusals too, in the order of the commands: a server serves one after the other.
 * @throws Whatever has ended the connection.
 */
export async function askTogether(ftp: FTPContext, commands: readonly string[]): Promise<FTPResponse[]> {
  const replies: FTPResponse[] = [];
  const answered: Promise<unknown> = ftp.handle(undefined, (reply, task) => {
    if (reply instanceof Error && !(reply instanceof FTPError)) return task.reject(reply);
    if (replies.push({ code: reply.code, message: reply.message }) === commands.length) task.resolve(undefined);
  });
  ftp.socket.write(commands.map((command) => `${command}\r\n`).join(""), ftp.encoding);
  await answered;
  return replies;
}

/** The answer as an error, if it is a refusal. */
export function refusalIn(reply: FTPResponse | undefined): FTPError | undefined {
  return reply !== undefined && reply.code >= 400 ? new FTPError(reply) : undefined;
}

/** What was said to SIZE (RFC 3659 section 4): bytes, `undefined` if there is no such file. @throws {FTPError} If it was refused otherwise. */
export function sizeIn(reply: FTPResponse | undefined): number | undefined {
  if (reply?.code === 550) return undefined;
  const refusal = refusalIn(reply);
  if (refusal !== undefined) throw refusal;
  const bytes = /^213 (\d+)\b/.exec(reply?.message ?? "")?.[1];
  if (bytes === undefined) throw new Error("Can't parse response to SIZE");
  return Number(bytes);
}
