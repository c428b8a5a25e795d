/** Below the ports that systems give to whoever asks for any: a connection of another test could get one of those before its server listens. */
const [FIRST, COUNT] = [10_000, 10_000];

/** So many TCP ports on 127.0.0.1 that nobody listens on. All are held until the last is found, so no two are the same. */
export function freePorts(count: number): number[] {
  const listeners: Deno.TcpListener[] = [];
  try {
    while (listeners.length < count) {
      const port = FIRST + Math.floor(Math.random() * COUNT);
      try {
        listeners.push(Deno.listen({ hostname: "127.0.0.1", port }));
      } catch (error) {
        if (!(error instanceof Deno.errors.AddrInUse)) throw error;
      }
    }
    return listeners.map(({ addr }) => addr.port);
  } finally {
    for (const listener of listeners) listener.close();
  }
}

/** One such port. */
export function freePort(): number {
  const [port = 0] = freePorts(1);
  return port;
}
