// Watching: a stream of transitions that reconnects when the connection breaks.

import { ApiError, TransportError, UnexpectedAnswerError, askedPause, errorOf, isTransient } from "./errors.js";
import type { Http, Opened } from "./http.js";
import { EventParser, type Block } from "./sse.js";
import { pauseMs, sleep } from "./time.js";
import type { Operation, OperationAnswer } from "./wire.js";

/** A watched server sends something every 15 s; after this time without data, the connection is considered dead. */
const SILENCE_MS = 45_000;

/** A transition of an operation, or its deletion. */
export interface WatchEvent {
  /** The position from which to continue after a restart of the program: `lastEventId`. */
  id: string;
  operationId: string;
  /** The operation as it was right after the transition; missing if it was deleted. */
  operation?: Operation;
}

/** A stream of transitions; created by `Client.watch`. */
export class Watch implements AsyncIterableIterator<WatchEvent> {
  readonly #http: Http;
  readonly #query: Record<string, string | undefined>;
  readonly #signal: AbortSignal | undefined;
  #lastEventId: string | undefined;
  #opened: Opened | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #parser = new EventParser();
  #blocks: Block[] = [];
  #failures = 0;
  #lostAt: number | undefined;
  #isClosed = false;

  private constructor(
    http: Http,
    query: Record<string, string | undefined>,
    lastEventId: string | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.#http = http;
    this.#query = query;
    this.#lastEventId = lastEventId || undefined;
    this.#signal = signal;
  }

  /** @internal Connects; transitions are reported from now on. */
  static async begin(
    http: Http,
    query: Record<string, string | undefined>,
    lastEventId?: string,
    signal?: AbortSignal,
  ): Promise<Watch> {
    const watch = new Watch(http, query, lastEventId, signal);
    await http.repeat(watch.#call(), () => watch.#connect());
    // The server sends the current position at once: without it, a connection that breaks before the first event
    // could not be resumed.
    while (watch.#lastEventId === undefined && watch.#blocks.length === 0) {
      await watch.#step();
      if (watch.#blocks[0]?.data === "") {
        watch.#take(watch.#blocks.shift()!);
      }
    }
    return watch;
  }

  /** The position in the stream, from which the program can continue after a restart. */
  get lastEventId(): string | undefined {
    return this.#lastEventId;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next transition. Rejects with the signal's reason if the signal is aborted. */
  async next(): Promise<IteratorResult<WatchEvent, undefined>> {
    while (!this.#isClosed) {
      const block = this.#blocks.shift();
      const event = block && this.#take(block);
      if (event) {
        return { done: false, value: event };
      }
      if (!block) {
        await this.#step();
      }
    }
    return { done: true, value: undefined };
  }

  /** Closes the connection; leaving a `for await` loop calls it. */
  return(): Promise<IteratorResult<WatchEvent, undefined>> {
    this.#isClosed = true;
    this.#disconnect();
    return Promise.resolve({ done: true, value: undefined });
  }

  #call() {
    const headers: Record<string, string> = this.#lastEventId ? { "Last-Event-ID": this.#lastEventId } : {};
    return {
      method: "GET",
      path: "v1/operations:watch",
      query: this.#query,
      headers,
      timeoutMs: SILENCE_MS,
      signal: this.#signal,
    };
  }

  async #connect(): Promise<void> {
    this.#opened = await this.#http.open(this.#call());
    if (this.#isClosed) {
      this.#disconnect();
      return;
    }
    if (!this.#opened.response.body) {
      throw new UnexpectedAnswerError(this.#opened.response.status, "no body");
    }
    this.#reader = this.#opened.response.body.getReader();
  }

  #disconnect(): void {
    this.#opened?.close();
    this.#opened = this.#reader = undefined;
    // Incomplete blocks are sent again.
    this.#parser = new EventParser();
  }

  /** Reads the next data, or reconnects. */
  async #step(): Promise<void> {
    try {
      if (!this.#reader) {
        await this.#connect();
      }
      if (this.#isClosed) {
        return;
      }
      await this.#read();
      this.#failures = 0;
      this.#lostAt = undefined;
    } catch (error) {
      this.#disconnect();
      if (this.#isClosed) {
        return;
      }
      const now = performance.now();
      this.#lostAt ??= now;
      if (!isTransient(error) || now - this.#lostAt >= this.#http.reconnectForMs) {
        throw error;
      }
      // Not at once: a server that is stopping may end its streams while it still accepts connections.
      await sleep(pauseMs(askedPause(error), this.#failures++), this.#signal);
    }
  }

  async #read(): Promise<void> {
    const opened = this.#opened!;
    try {
      const { done, value } = await this.#reader!.read();
      if (done) {
        throw new TransportError(`${this.#http.origin} ended the stream`, false);
      }
      opened.alive();
      this.#blocks.push(...this.#parser.push(value));
    } catch (error) {
      if (error instanceof RangeError) {
        throw new UnexpectedAnswerError(200, error.message);
      }
      throw opened.explain(error);
    }
  }

  #take(block: Block): WatchEvent | undefined {
    if (block.name === "error") {
      this.#disconnect();
      const error = errorOf(400, block.data);
      // The status that a normal call would have had.
      throw error instanceof ApiError && error.code === 16 ? errorOf(401, block.data) : error;
    }
    if (block.id) {
      this.#lastEventId = block.id;
    }
    try {
      if (block.name === "deleted") {
        const { id } = JSON.parse(block.data) as { id: string };
        return { id: block.id, operationId: id };
      }
      if (block.name || !block.data) {
        // A keep-alive, or something from a newer server.
        return undefined;
      }
      const { operation } = JSON.parse(block.data) as OperationAnswer;
      return { id: block.id, operationId: operation.id, operation };
    } catch {
      throw new UnexpectedAnswerError(200, block.data);
    }
  }
}
