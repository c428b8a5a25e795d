import { parseEnv } from "node:util";
import { ConfigError } from "./errors.ts";

/** Reads one setting as it stands, or `undefined` where it is not set. A blank text counts as not set. */
export type ReadSetting = (name: string) => string | undefined;

/**
 * Settings of the process, and below them those of a `.env` file: what the process was started with wins.
 *
 * @param file The `.env` file; it may be absent.
 * @param ofProcess Reads a variable of the process.
 * @throws {ConfigError} If the file is there and cannot be read.
 */
export function openSettings(file: string, ofProcess: ReadSetting = (name) => Deno.env.get(name)): ReadSetting {
  const fromFile = readEnvFile(file);
  return (name) => {
    const value = ofProcess(name) ?? fromFile[name];
    return value?.trim() === "" ? undefined : value;
  };
}

function readEnvFile(file: string): Record<string, string | undefined> {
  try {
    return parseEnv(Deno.readTextFileSync(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw new ConfigError([`Cannot read '${file}': make it readable, or remove it`], { cause: error });
  }
}

/** Collects the problems of many settings, so that all are reported at once. */
export class SettingsReader {
  readonly #read: ReadSetting;
  readonly #problems: string[] = [];
  readonly #files: string[] = [];

  constructor(read: ReadSetting) {
    this.#read = read;
  }

  /** Files that were named by the settings that were read. */
  get files(): readonly string[] {
    return this.#files;
  }

  /** Adds a problem. */
  problem(text: string): void {
    this.#problems.push(text);
  }

  /** A text that may be absent. */
  optional(name: string): string | undefined {
    return this.#read(name)?.trim();
  }

  /** A text that must be there. */
  required(name: string, why: string): string {
    const value = this.optional(name);
    if (value === undefined) this.problem(`${name} is not set: ${why}`);
    return value ?? "";
  }

  /** One of a few words. */
  choice<T extends string>(name: string, words: readonly T[], fallback: T): T {
    const value = this.optional(name) ?? fallback;
    const word = words.find((word) => word === value);
    if (word === undefined) this.problem(`${name} must be one of ${words.join(", ")}: current value is '${value}'`);
    return word ?? fallback;
  }

  /** A number in a range. */
  number(name: string, fallback: number, range: { min: number; max: number; whole?: boolean }): number {
    const text = this.optional(name);
    if (text === undefined) return fallback;
    const value = Number(text);
    const { min, max, whole = false } = range;
    if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
      this.problem(
        `${name} must be a ${whole ? "whole " : ""}number from ${min} to ${max}: current value is '${text}'`,
      );
      return fallback;
    }
    return value;
  }

  /** A TCP port. */
  port(name: string, fallback: number): number {
    return this.number(name, fallback, { min: 1, max: 65_535, whole: true });
  }

  /** A secret as it stands, blanks included, from the setting itself or from the file that `NAME_FILE` names (its first line). */
  secret(name: string, why: string): string {
    const file = this.optional(`${name}_FILE`);
    const value = this.#read(name);
    if (file === undefined) {
      if (value === undefined) this.problem(`${name} is not set, nor is ${name}_FILE: ${why}`);
      return value ?? "";
    }
    if (value !== undefined) this.problem(`${name} and ${name}_FILE are both set: keep one`);
    const secret = this.#file(`${name}_FILE`, file)?.split(/\r?\n/, 1)[0] ?? "";
    if (secret === "") this.problem(`${name}_FILE names the file '${file}', which has no first line`);
    return secret;
  }

  /** The text of a PEM file of certificates, where the setting names one. */
  pem(name: string): string | undefined {
    const file = this.optional(name);
    if (file === undefined) return undefined;
    const text = this.#file(name, file);
    if (text !== undefined && !text.includes("-----BEGIN CERTIFICATE-----")) {
      this.problem(`${name} names the file '${file}', which holds no PEM certificate`);
    }
    return text;
  }

  /** @throws {ConfigError} If there was any problem. */
  check(): void {
    if (this.#problems.length > 0) throw new ConfigError(this.#problems);
  }

  #file(name: string, file: string): string | undefined {
    this.#files.push(file);
    try {
      return Deno.readTextFileSync(file);
    } catch (error) {
      const what = error instanceof Deno.errors.NotFound ? "is not there" : "cannot be read";
      this.problem(`${name} names the file '${file}', which ${what}`);
      return undefined;
    }
  }
}
