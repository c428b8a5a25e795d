import { delay } from "@std/async";
import { connect } from "node:net";
import { DatabaseError } from "../errors.ts";
import type { EmbeddedAssets } from "./assets.ts";
import { DirectoryLock } from "./directory_lock.ts";
import { Leader } from "./leader.ts";

/** Time that a leader has to come up, in milliseconds: making a new database takes some seconds. */
const ELECTION_MS = 30_000;

/** Pause between two looks for a leader, in milliseconds. */
const LOOK_MS = 50;

/** Longest path of a Unix socket (Linux: `sun_path` of 108 bytes, one of them the end). */
const LONGEST_PATH = 107;

/**
 * One of the processes on this host that share an embedded database: whoever comes first leads, the others use its socket, and when it is gone one of
 * them takes over.
 */
export class SharedFolder implements AsyncDisposable {
  readonly #dir: string;
  readonly #assets: EmbeddedAssets | undefined;
  /** Where the leader listens. */
  readonly path: string;
  #leader: Leader | undefined;
  #electing: Promise<void> | undefined;
  #closed = false;

  /** @param dir The folder, made for its owner only. @param assets PGlite's files, where they cannot be taken out of the npm package. */
  constructor(dir: string, assets: EmbeddedAssets | undefined) {
    this.#dir = dir;
    this.#assets = assets;
    this.path = `${dir}/run/socket`;
    if (new TextEncoder().encode(this.path).length > LONGEST_PATH) {
      throw new DatabaseError(
        "database-refused",
        `Cannot share the embedded database in '${dir}': its path is too long for a socket, use one of at most ${
          LONGEST_PATH - "/run/socket".length
        } bytes`,
      );
    }
  }

  /** Resolves when somebody leads, this process if nobody else does. @throws {DatabaseError} `database-locked` if whoever has the folder does not share it. */
  async ready(): Promise<void> {
    await (this.#electing ??= this.#elect().finally(() => this.#electing = undefined));
  }

  /** Stops to lead, if it does: the others go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#electing?.catch(() => {});
    await this.#leader?.[Symbol.asyncDispose]();
  }

  async #elect(): Promise<void> {
    const late = performance.now() + ELECTION_MS;
    while (this.#leader === undefined && !await answers(this.path)) {
      try {
        await this.#lead(await DirectoryLock.take(this.#dir, true));
      } catch (error) {
        const locked = error instanceof DatabaseError && error.code === "database-locked";
        if (!locked || performance.now() > late || !await DirectoryLock.isShared(this.#dir)) throw error;
        await delay(LOOK_MS);
      }
    }
  }

  async #lead(lock: DirectoryLock): Promise<void> {
    if (this.#closed) return lock[Symbol.dispose]();
    const leader = await Leader.start(`${this.#dir}/data`, lock, this.#assets);
    try {
      await Deno.mkdir(`${this.#dir}/run`, { recursive: true, mode: 0o700 });
      await Deno.chmod(`${this.#dir}/run`, 0o700);
      // Of a leader that was killed.
      await Deno.remove(this.path).catch(() => {});
      await leader.listen(this.path);
      this.#leader = leader;
    } catch (error) {
      await leader[Symbol.asyncDispose]();
      throw error;
    }
  }
}

/** Whether somebody listens there. @throws {Deno.errors.NotCapable} If this process may not look. */
function answers(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const probe = connect({ path });
  probe.once("connect", () => resolve(true));
  probe.once("error", (error) => isNotPermitted(error) ? reject(error) : resolve(false));
  return promise.finally(() => probe.destroy());
}

/** Whether Deno refused it, rather than the system. */
export function isNotPermitted(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable || (error instanceof Error && error.name === "NotCapable");
}
