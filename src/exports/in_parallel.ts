/**
 * Does something with each of many items, several at a time, in their order. The first error stops the others; it is thrown when all have ended.
 *
 * @param items The items.
 * @param most How many at a time.
 * @param work Does it; the signal says that an error came, or that the caller stops it.
 * @param options How to stop.
 * @returns What it gave for each, in the order of the items.
 */
export async function inParallel<T, R>(
  items: readonly T[],
  most: number,
  work: (item: T, signal: AbortSignal) => Promise<R>,
  options: { readonly signal?: AbortSignal } = {},
): Promise<R[]> {
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const results: R[] = [];
  const queue = items.entries();
  const lane = async () => {
    try {
      for (const [index, item] of queue) {
        signal.throwIfAborted();
        results[index] = await work(item, signal);
      }
    } catch (error) {
      failed.abort(error);
    }
  };
  await Promise.all(Array.from({ length: most }, lane));
  failed.signal.throwIfAborted();
  return results;
}
