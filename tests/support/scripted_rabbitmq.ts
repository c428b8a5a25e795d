import { concat, frameOf, int, long, longText, messageIdOf, short, text } from "./amqp_wire.ts";

/** What the script can intervene at: the protocol header, the client's methods, a heartbeat. */
export type Heard =
  | "header"
  | "start-ok"
  | "tune-ok"
  | "open"
  | "channel.open"
  | "confirm.select"
  | "heartbeat";

/** A message as it came in. */
export interface Published {
  /** Counted over all connections, from 1. */
  readonly number: number;
  /** Of its channel, from 1. */
  readonly tag: number;
  readonly channel: number;
  readonly messageId: string;
  /** Its frames as they came, to be returned. */
  readonly content: Uint8Array;
}

/** How the server departs from what RabbitMQ does. */
export interface Script {
  /** Called before an answer is given. @returns Whether that is all: no answer then. */
  readonly hear?: (heard: Heard, peer: Peer) => boolean;
  /** Called for each message, in place of the acknowledgement. */
  readonly publish?: (message: Published, peer: Peer) => void;
}

/** Class and method ids of AMQP 0-9-1, https://www.rabbitmq.com/resources/specs/amqp0-9-1.xml */
const CLIENT: Readonly<Record<string, Heard | "close" | "close-ok" | "channel.close" | "publish">> = {
  "10.11": "start-ok",
  "10.31": "tune-ok",
  "10.40": "open",
  "10.50": "close",
  "10.51": "close-ok",
  "20.10": "channel.open",
  "20.40": "channel.close",
  "60.40": "publish",
  "85.10": "confirm.select",
};
const FRAME_MAX = 131_072;

/** A server that speaks as much AMQP 0-9-1 as a publisher needs, and breaks it where its script says so. It sends no heartbeats. */
export class ScriptedRabbitmq implements AsyncDisposable {
  /** Every message that came in. */
  readonly published: Published[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #script: Script;
  readonly #peers = new Set<Peer>();
  readonly #running: Promise<void>;

  /** @param script What happens; without one, every message is confirmed. */
  constructor(script: Script = {}) {
    this.#script = script;
    this.#running = this.#accept();
  }

  /** Where it listens, on 127.0.0.1. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** How many connections were made so far. */
  connections = 0;

  /** The connection that publishes, once it has. */
  get publisher(): Peer | undefined {
    return [...this.#peers].find((peer) => peer.hasChannel);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const peer of this.#peers) peer.drop();
    await this.#running;
  }

  async #accept(): Promise<void> {
    const served: Promise<void>[] = [];
    for await (const connection of this.#listener) {
      this.connections++;
      const peer = new Peer(connection, this.#script, this.published);
      this.#peers.add(peer);
      served.push(peer.serve().finally(() => this.#peers.delete(peer)));
    }
    await Promise.all(served);
  }
}

/** One client's connection. */
export class Peer {
  readonly #connection: Deno.Conn;
  readonly #script: Script;
  readonly #published: Published[];
  readonly #tags = new Map<number, number>();
  /** Channels that are closed or out of order: what comes through them is dropped, as the specification says. */
  readonly #deaf = new Set<number>();
  #outgoing: Uint8Array[] = [];
  #writing: Promise<void> | undefined;
  #buffer = new Uint8Array(0);
  #greeted = false;
  /** A message whose frames have not all come. */
  #partial: { channel: number; frames: Uint8Array[]; left: number | undefined; messageId: string } | undefined;

  constructor(connection: Deno.Conn, script: Script, published: Published[]) {
    this.#connection = connection;
    this.#script = script;
    this.#published = published;
  }

  /** Whether it has opened a channel. */
  get hasChannel(): boolean {
    return this.#tags.size > 0;
  }

  /** Confirms a message, and with `multiple` all before it. */
  ack({ channel, tag }: Pick<Published, "channel" | "tag">, multiple = false): void {
    this.#method(channel, 60, 80, long(tag), [Number(multiple)]);
  }

  /** Refuses a message, and with `multiple` all before it. */
  nack({ channel, tag }: Published, multiple = false): void {
    this.#method(channel, 60, 120, long(tag), [Number(multiple)]);
  }

  /** Gives a message back that no queue takes. */
  return({ channel, content }: Published, queue: string): void {
    this.#method(channel, 60, 50, short(312), text("NO_ROUTE"), text(""), text(queue));
    this.send(content);
  }

  /** Closes a channel; its messages are forgotten. */
  closeChannel(channel: number, code: number, why: string): void {
    this.#deaf.add(channel);
    this.#method(channel, 20, 40, short(code), text(why), short(60), short(40));
  }

  /** Closes the connection. */
  close(code: number, why: string): void {
    this.deafen();
    this.#method(0, 10, 50, short(code), text(why), short(0), short(0));
  }

  /** Wants no more messages. */
  block(why: string): void {
    this.#method(0, 10, 60, text(why));
  }

  /** Takes messages again. */
  unblock(): void {
    this.#method(0, 10, 61);
  }

  /** Takes no message any more. */
  deafen(): void {
    for (const channel of this.#tags.keys()) this.#deaf.add(channel);
  }

  /** Sends bytes as they are. */
  send(bytes: Uint8Array): void {
    this.#outgoing.push(bytes);
    this.#writing ??= this.#write();
  }

  /** Takes no message any more and ends the connection, after what was sent before. */
  async hangUp(): Promise<void> {
    this.deafen();
    await this.#writing;
    await this.#connection.closeWrite();
  }

  /** Cuts the connection. */
  drop(): void {
    try {
      this.#connection.close();
    } catch {
      // It was closed already.
    }
  }

  /** Reads until the connection ends. */
  async serve(): Promise<void> {
    const chunk = new Uint8Array(65_536);
    try {
      for (;;) {
        const length = await this.#connection.read(chunk);
        if (length === null) break;
        this.#buffer = concat([this.#buffer, chunk.subarray(0, length)]);
        while (this.#next());
      }
    } catch {
      // Cut, by either side.
    }
    this.drop();
  }

  async #write(): Promise<void> {
    try {
      // What is said in one go is written in one go.
      await Promise.resolve();
      while (this.#outgoing.length > 0) {
        const bytes = concat(this.#outgoing.splice(0));
        for (let sent = 0; sent < bytes.length;) sent += await this.#connection.write(bytes.subarray(sent));
      }
    } catch {
      this.drop();
    }
    this.#writing = undefined;
  }

  /** Takes one frame from the buffer. */
  #next(): boolean {
    if (!this.#greeted) {
      if (this.#buffer.length < 8) return false;
      this.#greeted = true;
      this.#buffer = this.#buffer.slice(8);
      this.#answer("header", 0);
      return true;
    }
    if (this.#buffer.length < 8) return false;
    const view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset);
    const [type, channel, size] = [view.getUint8(0), view.getUint16(1), view.getUint32(3)];
    if (this.#buffer.length < size + 8) return false;
    const frame = this.#buffer.subarray(0, size + 8);
    this.#buffer = this.#buffer.subarray(size + 8);
    if (type === 8) this.#answer("heartbeat", 0);
    else if (type === 1) this.#hear(channel, `${view.getUint16(7)}.${view.getUint16(9)}`);
    else this.#collect(frame);
    return true;
  }

  #hear(channel: number, id: string): void {
    const heard = CLIENT[id];
    if (heard === "publish") this.#partial = { channel, frames: [], left: undefined, messageId: "" };
    else if (heard === "close") this.#method(0, 10, 51);
    else if (heard === "close-ok") this.drop();
    else if (heard === "channel.close") this.#method(channel, 20, 41);
    else if (heard !== undefined) this.#answer(heard, channel);
  }

  #answer(heard: Heard, channel: number): void {
    if (this.#script.hear?.(heard, this)) return;
    switch (heard) {
      case "header":
        return this.#method(0, 10, 10, [0, 9], int(0), longText("PLAIN"), longText("en_US"));
      case "start-ok":
        return this.#method(0, 10, 30, short(2_047), int(FRAME_MAX), short(60));
      case "open":
        return this.#method(0, 10, 41, text(""));
      case "channel.open":
        this.#deaf.delete(channel);
        this.#tags.set(channel, 0);
        return this.#method(channel, 20, 11, longText(""));
      case "confirm.select":
        return this.#method(channel, 85, 11);
    }
  }

  /** A content header says how much body follows, and has the message's properties. */
  #collect(frame: Uint8Array): void {
    const partial = this.#partial;
    if (partial === undefined) return;
    partial.frames.push(frame.slice());
    if (partial.left === undefined) {
      const payload = new DataView(frame.buffer, frame.byteOffset + 7);
      partial.left = payload.getUint32(8);
      partial.messageId = messageIdOf(payload);
    } else partial.left -= frame.length - 8;
    if (partial.left > 0) return;
    this.#partial = undefined;
    const { channel, frames, messageId } = partial;
    if (this.#deaf.has(channel)) return;
    const tag = (this.#tags.get(channel) ?? 0) + 1;
    this.#tags.set(channel, tag);
    const message = { number: this.#published.length + 1, tag, channel, messageId, content: concat(frames) };
    this.#published.push(message);
    if (this.#script.publish === undefined) this.ack(message);
    else this.#script.publish(message, this);
  }

  #method(channel: number, classId: number, methodId: number, ...fields: (Uint8Array | number[])[]): void {
    const payload = concat([short(classId), short(methodId), ...fields.map((field) => new Uint8Array(field))]);
    this.send(frameOf(1, channel, payload));
  }
}
