/** The promise, or a rejection with the signal's reason if that comes first. Does not stop the work behind the promise. */
export function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T>;
/** The items, until the signal is aborted: then its reason is thrown, and the source is closed. */
export function abortable<T>(work: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T>;
export function abortable<T>(work: Promise<T> | AsyncIterable<T>, signal: AbortSignal): Promise<T> | AsyncGenerator<T> {
  return work instanceof Promise ? abortablePromise(work, signal) : abortableItems(work, signal);
}

async function abortablePromise<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  using abort = abortOf(signal);
  return await Promise.race([abort.promise, work]);
}

async function* abortableItems<T>(work: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  signal.throwIfAborted();
  using abort = abortOf(signal);
  const source = work[Symbol.asyncIterator]();
  let ended = false;
  try {
    while (true) {
      const next = await Promise.race([abort.promise, source.next()]);
      if (next.done) {
        ended = true;
        return (await source.return?.(next.value))?.value;
      }
      yield next.value;
    }
  } finally {
    if (!ended) await source.return?.();
  }
}

/** A promise that rejects when the signal is aborted; disposing of it leaves no listener on the signal. */
function abortOf(signal: AbortSignal): Disposable & { promise: Promise<never> } {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  return { promise, [Symbol.dispose]: () => signal.removeEventListener("abort", abort) };
}
