/** An answer that ends a command early: thrown by whatever carries it out. */
export class Reply extends Error {
  /** @param code Three digits, RFC 959 section 4.2. @param text The rest of the line. */
  constructor(readonly code: number, readonly text: string) {
    super(`${code} ${text}`);
  }

  /** What a failure means to the client; never with local paths. @param error Anything thrown. */
  static from(error: unknown): Reply {
    if (error instanceof Reply) return error;
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    switch (code) {
      case "ENOENT":
        return new Reply(550, "No such file or folder.");
      case "ENOSPC":
      case "EDQUOT":
        return new Reply(452, "No space left.");
      case "EEXIST":
        return new Reply(550, "There already.");
      case "ENOTEMPTY":
        return new Reply(550, "Folder not empty.");
      case "ENOTDIR":
      case "EISDIR":
      case "EACCES":
      case "EPERM":
      case "EROFS":
      case "ENAMETOOLONG":
        return new Reply(550, "Not allowed.");
      case "ECONNRESET":
      case "EPIPE":
      case "ERR_STREAM_PREMATURE_CLOSE":
        return new Reply(426, "Connection closed; transfer aborted.");
      default:
        return new Reply(451, "Local error.");
    }
  }
}
