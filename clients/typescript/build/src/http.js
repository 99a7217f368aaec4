// How a call is sent: with the token, within its time, again where that is right.
import { LongrunError, TransportError, UnexpectedAnswerError, askedPause, errorOf } from "./errors.js";
import { pauseMs, sleep } from "./time.js";
/** What Node says when no connection came about. Browsers do not tell. */
const NEVER_SENT = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);
/** Sends calls. */
export class Http {
    timeoutMs;
    reconnectForMs;
    /** Whether a server has ever answered. Where none has, the address is probably wrong, and waiting would be in vain. */
    wasAnswered = false;
    #base;
    #token;
    #retries;
    #fetch;
    constructor(settings) {
        this.#base = new URL(settings.url);
        if (!["http:", "https:"].includes(this.#base.protocol)) {
            throw new TypeError(`${settings.url} is not the address of a server: it must start with http:// or https://`);
        }
        if (this.#base.username || this.#base.password || this.#base.search || this.#base.hash) {
            throw new TypeError("the address of a server must have neither a user, a password nor a query");
        }
        if (!this.#base.pathname.endsWith("/")) {
            this.#base.pathname += "/";
        }
        this.#token = settings.token.trim();
        if (!/^[\x21-\x7e]+$/.test(this.#token)) {
            throw new TypeError("the token is empty or holds characters that no token has");
        }
        this.timeoutMs = settings.timeoutMs ?? 90_000;
        this.reconnectForMs = settings.reconnectForMs ?? Infinity;
        this.#retries = settings.retries ?? 4;
        // Called without `this`, as browsers want it.
        const send = settings.fetch ?? globalThis.fetch;
        this.#fetch = (input, init) => send(input, init);
    }
    /** Where errors say the server is. */
    get origin() {
        return this.#base.origin;
    }
    /** Sends a call, as often as that is right, and answers the JSON of a success. */
    async json(call) {
        const [status, text] = await this.send(call, async (response) => [response.status, await response.text()]);
        try {
            return JSON.parse(text);
        }
        catch {
            throw new UnexpectedAnswerError(status, text);
        }
    }
    /** Sends a call, as often as that is right, and answers what `read` makes of a success. */
    send(call, read) {
        return this.repeat(call, async () => {
            const opened = await this.open(call);
            try {
                return await read(opened.response);
            }
            catch (error) {
                throw opened.explain(error);
            }
            finally {
                opened.close();
            }
        });
    }
    /** Does what sends a call, as often as that is right. */
    async repeat(call, once) {
        const retries = call.retries ?? this.#retries;
        for (let repetition = 0;; repetition++) {
            try {
                return await once();
            }
            catch (error) {
                if (repetition >= retries || !isWorthRepeating(call, error)) {
                    throw error;
                }
                await sleep(pauseMs(askedPause(error), repetition), call.signal);
            }
        }
    }
    /** Sends a call once; the answer is a success whose body is still to be read, and which is to be closed. */
    async open(call) {
        call.signal?.throwIfAborted();
        // One timer for every silence, and the caller's signal. Not AbortSignal.any: what it makes stays with a signal that
        // lives for long.
        const controller = new AbortController();
        const abort = () => controller.abort(call.signal?.reason);
        call.signal?.addEventListener("abort", abort, { once: true });
        const silent = () => controller.abort(new TransportError(`${this.origin} does not answer in time`, false));
        let timer;
        const alive = () => {
            clearTimeout(timer);
            timer = setTimeout(silent, call.timeoutMs ?? this.timeoutMs);
        };
        const close = () => {
            clearTimeout(timer);
            call.signal?.removeEventListener("abort", abort);
            // Ends the connection of a body that was not read to its end.
            controller.abort();
        };
        const explain = (error) => {
            if (call.signal?.aborted) {
                return call.signal.reason;
            }
            return error instanceof LongrunError ? error : this.#transportError(error);
        };
        alive();
        try {
            const response = await this.#fetch(this.#address(call), {
                method: call.method,
                headers: {
                    Authorization: `Bearer ${this.#token}`,
                    ...(call.json === undefined ? {} : { "Content-Type": "application/json" }),
                    ...call.headers,
                },
                body: call.json === undefined ? (call.body ?? null) : JSON.stringify(call.json),
                // The token is for this server alone.
                redirect: "error",
                signal: controller.signal,
            });
            this.wasAnswered = true;
            alive();
            if (response.ok) {
                return { response, alive, explain, close };
            }
            const requestId = response.headers.get("x-request-id") ?? undefined;
            const retryAfter = response.headers.get("retry-after") ?? "";
            // The form with a date is not read: longrun never sends it.
            const retryAfterMs = /^\d+$/.test(retryAfter) ? Number(retryAfter) * 1000 : undefined;
            throw errorOf(response.status, await response.text(), requestId, retryAfterMs);
        }
        catch (error) {
            close();
            throw explain(error);
        }
    }
    #address(call) {
        const address = new URL(call.path, this.#base);
        for (const [name, value] of Object.entries(call.query ?? {})) {
            if (value !== undefined) {
                address.searchParams.set(name, String(value));
            }
        }
        return address;
    }
    #transportError(error) {
        const cause = error?.cause;
        const reason = cause?.message || cause?.code || String(error);
        const neverSent = NEVER_SENT.has(cause?.code ?? "");
        const what = neverSent ? "cannot connect to" : "the connection failed to";
        return new TransportError(`${what} ${this.origin}: ${reason}`, neverSent, error);
    }
}
function isWorthRepeating(call, error) {
    if (error instanceof TransportError) {
        return !call.once || error.neverSent;
    }
    const status = error.httpStatus ?? 0;
    return status === 429 || status === 503 || (!call.once && (status === 502 || status === 504));
}
/** One part of a path, from which nothing leads elsewhere. */
export function segment(text) {
    if (["", ".", ".."].includes(text)) {
        throw new TypeError(`${JSON.stringify(text)} is no id, digest or name`);
    }
    return encodeURIComponent(text);
}
