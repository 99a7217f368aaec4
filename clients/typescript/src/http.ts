// How a call is sent: with the token, within its time, again where that is right.

import { LongrunError, TransportError, UnexpectedAnswerError, askedPause, errorOf } from "./errors.js";
import { LONGEST_TIMER_MS, pauseMs, sleep } from "./time.js";

/** The settings of a client. */
export interface Settings {
  /** The server's address, e.g. `http://127.0.0.1:8080`; a path before `/v1` is kept. */
  url: string;
  /** An API token. */
  token: string;
  /** How long the server may be silent during a call; default: 90 s. */
  timeoutMs?: number;
  /** How often a call that a busy server refused or whose connection broke is repeated, if that is safe; default: 4. */
  retries?: number;
  /** How long `wait` and `watch` try to reconnect to a server that went away; default: forever. */
  reconnectForMs?: number;
  /**
   * Returns the span that calls belong to, a `traceparent` of W3C Trace Context. Not needed if OpenTelemetry
   * instruments `fetch`, which then sends it automatically.
   */
  traceparent?: () => string | undefined;
  /** The function that sends calls; default: the platform's `fetch`. */
  fetch?: typeof fetch;
}

/** A call. */
export interface Call {
  method: string;
  path: string;
  query?: Record<string, string | number | undefined>;
  json?: unknown;
  body?: Blob | Uint8Array<ArrayBuffer> | string;
  headers?: Record<string, string>;
  /**
   * Sending it twice may do its work twice, or be refused: it is sent again only if the server did not carry it out,
   * because it could not be reached or refused it (503, or 429 with a time).
   */
  once?: boolean;
  /** Overrides how long the server may be silent. */
  timeoutMs?: number;
  /** Overrides how often it is sent again. */
  retries?: number;
  signal?: AbortSignal | undefined;
  /** Whether a success that has begun is read to its end even if the signal is aborted then. */
  keep?: boolean;
}

/** A success whose body has not been read yet. */
export interface Opened {
  response: Response;
  /** Data arrived: restarts the timer for silence. */
  alive: () => void;
  /** Converts an error that occurred while reading. */
  explain: (error: unknown) => unknown;
  close: () => void;
}

/** Node's error codes when no connection could be established. Browsers do not report them. */
const NEVER_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);

/** Sends calls. */
export class Http {
  readonly timeoutMs: number;
  readonly reconnectForMs: number;
  readonly retries: number;
  /** Whether a server has ever answered. If none has, the address is probably wrong, and waiting would be in vain. */
  wasAnswered = false;
  readonly #base: URL;
  readonly #token: string;
  readonly #fetch: typeof fetch;
  readonly #traceparent: () => string | undefined;

  constructor(settings: Settings) {
    this.#base = new URL(settings.url);
    if (!["http:", "https:"].includes(this.#base.protocol)) {
      throw new TypeError(`${settings.url} is not a valid server address: it must start with http:// or https://`);
    }
    if (this.#base.username || this.#base.password || this.#base.search || this.#base.hash) {
      throw new TypeError("the server address must have neither a user, a password nor a query");
    }
    if (!this.#base.pathname.endsWith("/")) {
      this.#base.pathname += "/";
    }
    this.#token = settings.token.trim();
    if (!/^[\x21-\x7e]+$/.test(this.#token)) {
      throw new TypeError("the token is empty or contains invalid characters");
    }
    this.timeoutMs = settings.timeoutMs ?? 90_000;
    this.reconnectForMs = settings.reconnectForMs ?? Infinity;
    this.retries = settings.retries ?? 4;
    this.#traceparent = settings.traceparent ?? (() => undefined);
    // Called without `this`, as browsers require.
    const send = settings.fetch ?? globalThis.fetch;
    this.#fetch = (input, init) => send(input, init);
  }

  /** The server's address in error messages. */
  get origin(): string {
    return this.#base.origin;
  }

  /** Sends a call, repeatedly if necessary, and returns the JSON of a success. */
  async json<T>(call: Call): Promise<T> {
    const [status, text] = await this.send(call, async (response) => [response.status, await response.text()] as const);
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new UnexpectedAnswerError(status, text);
    }
  }

  /** Sends a call, repeatedly if necessary, and returns what `read` makes of a success. */
  send<T>(call: Call, read: (response: Response) => Promise<T>): Promise<T> {
    return this.repeat(call, async () => {
      const opened = await this.open(call);
      try {
        return await read(opened.response);
      } catch (error) {
        throw opened.explain(error);
      } finally {
        opened.close();
      }
    });
  }

  /** Runs a function that sends a call, repeatedly if necessary. */
  async repeat<T>(call: Call, once: () => Promise<T>): Promise<T> {
    const retries = call.retries ?? this.retries;
    for (let repetition = 0; ; repetition++) {
      try {
        return await once();
      } catch (error) {
        if (repetition >= retries || !isWorthRepeating(call, error)) {
          throw error;
        }
        await sleep(pauseMs(askedPause(error), repetition), call.signal);
      }
    }
  }

  /** Sends a call once; returns a success whose body must still be read, and which must be closed. */
  async open(call: Call): Promise<Opened> {
    call.signal?.throwIfAborted();
    // What cannot be sent, such as a BigInt or a key that is no header, is the caller's error and not the connection's.
    const traceparent = this.#traceparent();
    const headers = new Headers({
      Authorization: `Bearer ${this.#token}`,
      ...(call.json === undefined ? {} : { "Content-Type": "application/json" }),
      ...(traceparent === undefined ? {} : { traceparent }),
      ...call.headers,
    });
    const body = call.json === undefined ? (call.body ?? null) : JSON.stringify(call.json);
    // One timer for every silence, and the caller's signal. Not AbortSignal.any: its result stays attached to a
    // long-lived signal.
    const controller = new AbortController();
    const abort = () => controller.abort(call.signal?.reason);
    call.signal?.addEventListener("abort", abort, { once: true });
    const silent = () => controller.abort(new TransportError(`${this.origin} does not answer in time`, false));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(silent, Math.min(call.timeoutMs ?? this.timeoutMs, LONGEST_TIMER_MS));
    };
    const close = () => {
      clearTimeout(timer);
      call.signal?.removeEventListener("abort", abort);
      // Closes the connection of a body that was not read completely.
      controller.abort();
    };
    const explain = (error: unknown) => {
      if (call.signal?.aborted) {
        return call.signal.reason;
      }
      return error instanceof LongrunError ? error : this.#transportError(error);
    };
    alive();
    try {
      const response = await this.#fetch(this.#address(call), {
        method: call.method,
        headers,
        body,
        // The token is for this server alone.
        redirect: "error",
        signal: controller.signal,
      });
      this.wasAnswered = true;
      alive();
      if (response.ok) {
        if (call.keep) {
          call.signal?.removeEventListener("abort", abort);
        }
        return { response, alive, explain, close };
      }
      const requestId = response.headers.get("x-request-id") ?? undefined;
      const retryAfter = response.headers.get("retry-after") ?? "";
      // The date format is not parsed: longrun never sends it.
      const retryAfterMs = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined;
      throw errorOf(response.status, await response.text(), requestId, retryAfterMs);
    } catch (error) {
      close();
      throw explain(error);
    }
  }

  #address(call: Call): URL {
    const address = new URL(call.path, this.#base);
    for (const [name, value] of Object.entries(call.query ?? {})) {
      if (value !== undefined) {
        address.searchParams.set(name, String(value));
      }
    }
    return address;
  }

  #transportError(error: unknown): TransportError {
    const cause = (error as { cause?: { code?: string; message?: string } } | undefined)?.cause;
    const reason = cause?.message || cause?.code || String(error);
    const neverSent = NEVER_SENT.has(cause?.code ?? "");
    const what = neverSent ? "cannot connect to" : "the connection failed to";
    return new TransportError(`${what} ${this.origin}: ${reason}`, neverSent, error);
  }
}

function isWorthRepeating(call: Call, error: unknown): boolean {
  if (error instanceof TransportError) {
    return !call.once || error.neverSent;
  }
  const status = (error as { httpStatus?: number }).httpStatus ?? 0;
  // Without a time the limit is not one that passes, such as that of the evidence an organization may store.
  const isBusy = status === 503 || (status === 429 && askedPause(error) !== undefined);
  return isBusy || (!call.once && (status === 502 || status === 504));
}

/** One segment of a path, escaped so that it cannot lead elsewhere. */
export function segment(text: string): string {
  if (["", ".", ".."].includes(text)) {
    throw new TypeError(`${JSON.stringify(text)} is not an id, digest or name`);
  }
  return encodeURIComponent(text);
}
