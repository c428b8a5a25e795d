const UNITS = ["bytes", "kB", "MB", "GB", "TB"] as const;

/** Bytes as people read them, in powers of a thousand: `3.2 MB`. */
export function bytesText(bytes: number): string {
  let [value, power] = [Math.round(bytes), 0];
  while (value >= (power === 0 ? 1_000 : 999.95) && power < UNITS.length - 1) {
    [value, power] = [value / 1_000, power + 1];
  }
  return `${power === 0 ? value : value.toFixed(1)} ${UNITS[power]}`;
}

/** A number of things: `1 file`, `2 files`, and with more words `1 file differs`, `2 files differ`. @param many Where it is not `one` with an s. */
export function counted(count: number, one: string, many: string = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Seconds as `m:ss`, from an hour on as `h:mm:ss`. */
export function durationText(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours === 0 ? `${minutes}:${rest}` : `${hours}:${String(minutes).padStart(2, "0")}:${rest}`;
}

/** A time as people say it, in one whole unit: `40 s`, `3 min`, `5 h`, `2 d`. @param ms Milliseconds. */
export function agoText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} d`;
}
