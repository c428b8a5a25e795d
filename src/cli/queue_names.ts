import { ConfigError } from "./errors.ts";

/**
 * Checks names of queues: letters, digits, `.`, `_` and `-`, so that they can be told apart from the queues that belong to them.
 *
 * @throws {ConfigError} If there is none, or one is no such name.
 */
export function queueNames(names: readonly string[]): string[] {
  const trimmed = names.map((name) => name.trim()).filter((name) => name !== "");
  if (trimmed.length === 0) throw new ConfigError(["No queue is named: use for example 'pacs'"]);
  const wrong = trimmed.find((name) => !/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name));
  if (wrong !== undefined) {
    throw new ConfigError([`'${wrong}' is no name of a queue: use letters, digits, '.', '_' and '-'`]);
  }
  return [...new Set(trimmed)];
}
