import { lstat, realpath } from "node:fs/promises";
import { join, posix } from "node:path";
import { Reply } from "./reply.ts";

/** Maps the client's paths to local ones, none of which leaves the root. */
export class VirtualFolder {
  /** Where relative paths begin. */
  current = "/";
  readonly #root: string;

  /** @param root Real path of the folder that clients see as `/`. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Absolute path as the client sees it; `..` stops at the root. */
  resolve(path: string): string {
    if (/\p{Cc}|\\/u.test(path)) throw new Reply(553, "Name not allowed.");
    return posix.resolve("/", this.current, path);
  }

  /** Local path. @throws {Reply} If a link leads out of the root, or the path is a link itself. */
  async local(path: string): Promise<string> {
    const absolute = this.resolve(path);
    if (absolute === "/") return this.#root;
    const folder = await realpath(join(this.#root, posix.dirname(absolute)));
    if (folder !== this.#root && !folder.startsWith(`${this.#root}/`)) throw new Reply(550, "Not allowed.");
    const local = join(folder, posix.basename(absolute));
    const isLink = await lstat(local).then((file) => file.isSymbolicLink(), () => false);
    if (isLink) throw new Reply(550, "Not allowed.");
    return local;
  }
}
