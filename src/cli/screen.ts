import process from "node:process";
import { styleText } from "node:util";
import type { Phase, Progress } from "../progress.ts";

/** Where text for people goes. */
export interface Terminal {
  /** Writes text as it is. */
  write(text: string): void;
  /** Whether bars can be redrawn in place. */
  readonly interactive: boolean;
  /** Characters in a line. */
  readonly columns: number;
}

/** Standard error: text for people never mixes with what programs read from standard output. @param onGone Called once if nobody reads it any more. */
export function stderrTerminal(onGone: () => void): Terminal {
  const encoder = new TextEncoder();
  let isGone = false;
  return {
    write(text) {
      if (isGone) return;
      let bytes = encoder.encode(text);
      try {
        while (bytes.length > 0) bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
      } catch (error) {
        if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
        isGone = true;
        onGone();
      }
    },
    interactive: Deno.stderr.isTerminal(),
    get columns() {
      try {
        return Deno.consoleSize().columns;
      } catch {
        return 80;
      }
    },
  };
}

/** A bar is redrawn at most so often, in milliseconds. */
const REDRAW_MS = 80;

/** Shows a task to people: lines, one bar at a time, tables. */
export class Screen implements Progress {
  readonly #terminal: Terminal;
  #bar = "";
  #drawnAt = -Infinity;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Writes a line above the bar. */
  line(text: string): void {
    this.#terminal.write(this.#bar === "" ? `${text}\n` : `\r\x1b[K${text}\n${this.#bar}`);
  }

  /** Begins a phase. @param total How many there will be, 0 if nobody knows. @param unit What is counted. */
  phase(name: string, total: number, unit: string): Phase {
    const started = performance.now();
    let [count, of, open, more] = [0, total, true, ""];
    const draw = () => {
      if (!this.#terminal.interactive || performance.now() - this.#drawnAt < REDRAW_MS) return;
      this.#drawnAt = performance.now();
      this.#show(bar(name, count, of, `${unit}${more}`, this.#terminal.columns));
    };
    const end = (mark: string, text: string) => {
      if (!open) return;
      open = false;
      this.#show("");
      const seconds = ((performance.now() - started) / 1_000).toFixed(1);
      this.line(`${mark} ${name.padEnd(NAME_WIDTH)} ${text} ${colour("dim", `${seconds} s`)}`);
    };
    draw();
    return {
      advance: (n = 1) => {
        count += n;
        draw();
      },
      total: (n) => {
        of = n;
        draw();
      },
      note: (text) => {
        more = `, ${text}`;
        draw();
      },
      done: (result, isWell = true) => end(isWell ? colour("green", "✓") : colour("red", "✗"), result),
      [Symbol.dispose]: () => end(colour("red", "✗"), `stopped at ${count}${of > 0 ? ` of ${of}` : ""} ${unit}`),
    };
  }

  /** Columns are as wide as their widest cell; numbers stand to the right. */
  table(rows: readonly (readonly (string | number)[])[]): void {
    const widths: number[] = [];
    for (const row of rows) {
      row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, String(cell).length));
    }
    for (const row of rows) {
      const cells = row.map((cell, i) => {
        const width = widths[i] ?? 0;
        return typeof cell === "number" ? String(cell).padStart(width) : cell.padEnd(width);
      });
      this.line(`  ${cells.join("  ").trimEnd()}`);
    }
  }

  #show(text: string): void {
    if (!this.#terminal.interactive) return;
    if (this.#bar !== "" || text !== "") this.#terminal.write(`\r\x1b[K${text}`);
    this.#bar = text;
  }
}

const NAME_WIDTH = 18;

/** Colours only where standard error is a terminal and the user has nothing against it. */
function colour(style: "dim" | "green" | "red" | "cyan", text: string): string {
  return styleText(style, text, { stream: process.stderr });
}

function bar(name: string, count: number, total: number, unit: string, columns: number): string {
  const label = `  ${name.padEnd(NAME_WIDTH)}`;
  if (total === 0) return `${label} ${count} ${unit}`;
  const numbers = `${count}/${total} ${unit}`;
  const width = Math.max(5, Math.min(40, columns - NAME_WIDTH - numbers.length - 8));
  const full = Math.min(width, Math.round((count / total) * width));
  return `${label} ${colour("cyan", "█".repeat(full))}${colour("dim", "░".repeat(width - full))} ${numbers}`;
}
