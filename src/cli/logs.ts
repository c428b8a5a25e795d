import { configure, type LogLevel, type LogRecord } from "@logtape/logtape";
import { ConfigError } from "./errors.ts";
import type { Screen } from "./screen.ts";

const LEVELS = ["debug", "info", "warning", "error"] as const satisfies readonly LogLevel[];

/**
 * Sends logs to standard error, one JSON object a line.
 *
 * @param level The least level shown; `warning` if not given.
 * @param screen Writes them above a progress bar.
 * @throws {ConfigError} If the level is unknown.
 */
export async function configureLogs(level: string | undefined, screen: Screen): Promise<void> {
  const lowestLevel = LEVELS.find((name) => name === (level ?? "warning"));
  if (lowestLevel === undefined) {
    throw new ConfigError([`PIXL_LOG_LEVEL must be one of ${LEVELS.join(", ")}: current value is '${level}'`]);
  }
  await configure({
    reset: true,
    sinks: { screen: (record) => screen.line(jsonLine(record)) },
    loggers: [
      { category: ["pixl"], sinks: ["screen"], lowestLevel },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
}

function jsonLine({ timestamp, level, category, message, properties }: LogRecord): string {
  const text = message.map((part) => typeof part === "string" ? part : String(part)).join("");
  const time = new Date(timestamp).toISOString();
  return JSON.stringify({ time, level, logger: category.join("."), message: text, ...properties });
}
