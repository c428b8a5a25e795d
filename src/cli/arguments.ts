import { InvalidArgumentError } from "commander";
import type { Priority } from "../queue/mod.ts";

/**
 * Makes a reader of a number for an option.
 *
 * @param name The option, for the error's text.
 * @param range What it must be in.
 */
export function parseNumber(
  name: string,
  range: { readonly min: number; readonly max: number; readonly whole?: boolean },
): (text: string) => number {
  const { min, max, whole = false } = range;
  return (text) => {
    const value = text.trim() === "" ? NaN : Number(text);
    if (value >= min && value <= max && (!whole || Number.isInteger(value))) return value;
    throw new InvalidArgumentError(`${name} must be a ${whole ? "whole " : ""}number from ${min} to ${max}.`);
  };
}

const PRIORITIES: readonly Priority[] = [1, 2, 3, 4, 5];

/** Reads the value of `--priority`. */
export function parsePriority(text: string): Priority {
  const priority = PRIORITIES.find((each) => String(each) === text.trim());
  if (priority === undefined) throw new InvalidArgumentError("--priority must be a whole number from 1 to 5.");
  return priority;
}
