import * as v from "valibot";
import { normaliseTimestamp } from "../timestamp.ts";
import { ExtractError } from "./errors.ts";

/** What an extract says of itself in its `extract_summary.json`. */
export interface ExtractSummary {
  /** `settings.cdm_source_name`. */
  readonly projectName: string;
  /** `datetime` in ISO 8601. */
  readonly extractTime: string;
}

const schema = v.object({
  settings: v.object({
    cdm_source_name: v.pipe(v.string("must be text"), v.trim(), v.nonEmpty("must not be empty")),
  }, "must be an object"),
  datetime: v.pipe(
    v.string("must be text"),
    v.transform(normaliseTimestamp),
    v.string("must be a date and time as YYYY-MM-DD HH:MM:SS"),
  ),
}, "must be an object");

/**
 * Reads an extract's summary.
 *
 * @param path The path of `extract_summary.json`.
 * @param options How to stop.
 * @returns Project and time.
 * @throws {ExtractError} `summary-missing`, `summary-invalid` or `access-refused`.
 */
export async function readSummary(
  path: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<ExtractSummary> {
  const value = parse(path, await read(path, options.signal));
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) {
    return { projectName: result.output.settings.cdm_source_name, extractTime: result.output.datetime };
  }
  const issue = result.issues[0];
  const field = v.getDotPath(issue);
  const problem = field === null
    ? "it must be a JSON object"
    : `'${field}' ${missing(issue) ? "is missing" : issue.message}`;
  throw new ExtractError("summary-invalid", `Cannot use '${path}': ${problem}`);
}

function missing(issue: v.BaseIssue<unknown>): boolean {
  return issue.path?.at(-1)?.value === undefined;
}

async function read(path: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  try {
    return await Deno.readFile(path, signal ? { signal } : {});
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) {
      throw new ExtractError("summary-missing", `Cannot find '${path}': give the folder that OMOP ES wrote`, { cause });
    }
    throw new ExtractError("access-refused", `Cannot read '${path}': give this user, and Deno, read access`, { cause });
  }
}

function parse(path: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ExtractError("summary-invalid", `Cannot use '${path}': it must be JSON in UTF-8`, { cause });
  }
}
