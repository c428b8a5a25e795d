import type { Stats } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/** `YYYYMMDDHHMMSS` in UTC, RFC 3659 section 2.3. */
export function timeValue(date: Date): string {
  return date.toISOString().replace(/\D/g, "").slice(0, 14);
}

/** One line of MLSD, RFC 3659 section 7.2. */
export function machineLine(name: string, file: Stats): string {
  return `type=${file.isDirectory() ? "dir" : "file"};size=${file.size};modify=${timeValue(file.mtime)}; ${name}`;
}

/** One line of LIST in the form of `ls -l`, which is what clients know to read. */
export function listLine(name: string, file: Stats): string {
  const [, day = "", month = "", year = ""] = file.mtime.toUTCString().split(" ");
  return `${file.isDirectory() ? "drwx------" : "-rw-------"} 1 pixl pixl ${
    String(file.size).padStart(12)
  } ${month} ${day}  ${year} ${name}`;
}

/**
 * Lists a folder.
 *
 * @param folder Local path.
 * @param line How each file is written.
 * @param first The line before all others. There is one even for an empty folder: Deno 2.9 may miss the end of a TLS connection that carried nothing.
 * @returns Lines ended by CRLF; links are left out.
 */
export async function list(
  folder: string,
  line: (name: string, file: Stats) => string,
  first: string,
): Promise<string> {
  const names = await readdir(folder);
  const lines = await Promise.all(
    names.sort().map(async (name) => {
      const file = await lstat(join(folder, name)).catch(() => undefined); // it may have gone meanwhile
      return file?.isFile() || file?.isDirectory() ? `${line(name, file)}\r\n` : "";
    }),
  );
  return `${first}\r\n${lines.join("")}`;
}
