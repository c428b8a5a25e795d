import { UploadError } from "./errors.ts";

/** Where a file goes: all that the transfer needs to know about names. */
export interface RemotePath {
  /** Absolute, for people and receipts. */
  readonly path: string;
  /** Absolute. */
  readonly folder: string;
  /** The final name in the folder. */
  readonly name: string;
  /** The name until the file is whole and verified: `.NAME.<8 hex digits>.part`, another one each time, so that two uploads of a file do not meet, unless one is given. */
  readonly part: string;
}

/** The longest name in bytes that common file systems take. */
const MAX_NAME_BYTES = 255;

/**
 * Joins a base folder and a path below it.
 *
 * @param base Absolute, such as `/` or `/incoming`.
 * @param relative Names separated by `/`.
 * @param part Name of the unfinished file. @default A new one.
 * @returns The names to use.
 * @throws {UploadError} `invalid-name` if a name is empty, `.` or `..`, begins or ends with a blank, holds a control character, a backslash or half a
 * character, is too long, or could be taken for an unfinished file.
 */
export function remotePath(base: string, relative: string, part: string = partNameOf(relative)): RemotePath {
  if (!base.startsWith("/")) throw invalid(base, "the base folder must begin with '/'");
  const folders = base.split("/").filter((name) => name !== "");
  const names = relative.split("/");
  for (const name of [...folders, ...names]) checkName(name, relative);
  const name = names.at(-1) ?? "";
  if (!isPartNameOf(part, name)) throw invalid(relative, "the unfinished file cannot have that name");
  if (bytesOf(part) > MAX_NAME_BYTES) {
    throw invalid(relative, `a file name must be shorter than ${MAX_NAME_BYTES - 14} bytes`);
  }
  if (isPartName(name)) throw invalid(relative, "'.NAME.part' is kept for unfinished files");
  const folder = `/${[...folders, ...names.slice(0, -1)].join("/")}`;
  return { path: `${folder === "/" ? "" : folder}/${name}`, folder, name, part };
}

/** Whether a name can be a file's or folder's here. @param name One name, without folders. */
export function isPlainName(name: string): boolean {
  try {
    checkName(name, name);
    return true;
  } catch {
    return false;
  }
}

/** A new name for the unfinished file of that path, in the same folder. */
export function partNameOf(path: string): string {
  return `.${path.split("/").at(-1)}.${crypto.randomUUID().slice(0, 8)}.part`;
}

/** Whether that is the name of an unfinished file. */
export function isPartName(name: string): boolean {
  return /^\..*\.part$/.test(name);
}

/** Whether {@linkcode remotePath} could have given that name to the unfinished file of that final name. */
export function isPartNameOf(part: string, name: string): boolean {
  const id = part.slice(-13, -5);
  return /^[0-9a-f]{8}$/.test(id) && part === `.${name}.${id}.part`;
}

function checkName(name: string, path: string): void {
  if (name === "") throw invalid(path, "names must not be empty, nor the path begin or end with '/'");
  if (name === "." || name === "..") throw invalid(path, "'.' and '..' are not allowed");
  if (/^\s|\s$/u.test(name)) throw invalid(path, "names must not begin or end with a blank");
  if (/\p{Cc}|\p{Zl}|\p{Zp}|\\/u.test(name)) {
    throw invalid(path, "names must not hold control characters or backslashes");
  }
  if (!name.isWellFormed()) throw invalid(path, "names must be valid Unicode");
  if (bytesOf(name) > MAX_NAME_BYTES) throw invalid(path, `names must be at most ${MAX_NAME_BYTES} bytes long`);
}

function bytesOf(name: string): number {
  return new TextEncoder().encode(name).length;
}

function invalid(path: string, rule: string): UploadError {
  return new UploadError("invalid-name", `Cannot upload to ${JSON.stringify(path)}: ${rule}`);
}
