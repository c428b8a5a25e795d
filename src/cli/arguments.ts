import { InvalidArgumentError } from "commander";

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
