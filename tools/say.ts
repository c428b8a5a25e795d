/** Writes a line for people, to standard error. */
export function say(text: string): void {
  write(Deno.stderr, text);
}

/** Writes a line for programs, to standard output. */
export function print(text: string): void {
  write(Deno.stdout, text);
}

function write(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(`${text}\n`);
  while (bytes.length > 0) bytes = bytes.subarray(to.writeSync(bytes));
}
