/** So many TCP ports on 127.0.0.1 that nobody listens on. All are held until the last is found, so no two are the same. */
export function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () => Deno.listen({ hostname: "127.0.0.1", port: 0 }));
  const ports = listeners.map((listener) => listener.addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}

/** One such port. */
export function freePort(): number {
  const [port = 0] = freePorts(1);
  return port;
}
