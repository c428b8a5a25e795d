import type { SecureContext } from "node:tls";

/** What all connections to a receiver have in common. */
export interface Session {
  /** Real path of the folder that clients see as `/`. */
  readonly root: string;
  /** The one user. */
  readonly user: string;
  /** The user's password. */
  readonly password: string;
  /** Certificate and key. */
  readonly context: SecureContext;
  /** Whether data connections must resume the control connection's TLS session. */
  readonly requireReuse: boolean;
  /** Address to listen on for data connections. */
  readonly host: string;
  /** First and last port for data connections. */
  readonly passivePorts: readonly [number, number];
}
