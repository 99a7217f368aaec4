// The client: one method per call.

import { WaitTimeoutError, askedPause, isTransient } from "./errors.js";
import { Http, segment, type Call, type Settings } from "./http.js";
import { hasEnded, statusName } from "./operation.js";
import { durationText, pauseMs, sleep } from "./time.js";
import { Watch } from "./watch.js";
import type * as wire from "./wire.js";
import type { Operation } from "./wire.js";

/**
 * The maximum time of one call of a wait. Servers accept 60 s, but proxies often close connections that are silent
 * that long.
 */
const LONGEST_WAIT_MS = 30_000;
/** The pause between two calls of a wait if the first one returned early: a server that is stopping answers at once. */
const WAIT_PAUSE_MS = 200;
/** How late an answer to a wait may be; after that, the server is considered to be away. */
const LATE_MS = 10_000;
/** The same at the end of the caller's limit, which must be respected. */
const LATE_AT_THE_END_MS = 2_000;

/** Options of every call. */
export interface Options {
  /** Ends the call, which then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** Options of creations. */
export interface CreateOptions extends Options {
  /** For 24 hours, the same key and the same request return the first operation; by default, a new key is created. */
  idempotencyKey?: string;
}

/** Selects operations. A field that is left out matches everything. */
export interface Filter {
  /** Only this status, e.g. `FAILED`, or its wire name. */
  status?: string;
  kind?: string;
  /** Goes together with `resource_id`. */
  resource_type?: string;
  /** Goes together with `resource_type`. */
  resource_id?: string;
}

/** Selects entries of an audit log. A field that is left out matches everything. */
export type AuditFilter = {
  /** Only calls by this actor: the id of a token. */
  actor?: string;
  /** Only this action; with a dot at its end, all actions that begin with it. */
  action?: string;
  /** Only calls on this target, e.g. `operations/ID`. */
  target?: string;
  /** Only entries from this time on, e.g. `2026-01-31T12:00:00Z`. */
  since?: string;
  /** Only entries before this time. */
  until?: string;
  /** For tokens of the instance, the organization of the log. */
  organization?: string;
};

/**
 * A client of one server with one token.
 *
 * Calls that a busy server refused (503, or 429 with a time) are sent again after the pause that it requested; so are
 * calls whose connection broke, if sending them twice is safe. Creations have an idempotency key for this purpose.
 */
export class Client {
  readonly #http: Http;

  /** @throws {TypeError} when the address or the token is not valid. */
  constructor(settings: Settings) {
    this.#http = new Http(settings);
  }

  /** @internal How long the server may be silent during a call. */
  get timeoutMs(): number {
    return this.#http.timeoutMs;
  }

  // Operations.

  /** Creates an operation and returns it at once; `wait` waits for its end. */
  async create(operation: wire.NewOperation, options: CreateOptions = {}): Promise<Operation> {
    const call = { method: "POST", path: "v1/operations", json: operation, ...creation(options) };
    return (await this.#http.json<wire.OperationAnswer>(call)).operation;
  }

  /**
   * Creates 1 to 1,000 operations in one transaction, all or none; returns them in the same order. The violations of a
   * refusal begin with the index, e.g. `operations[3].kind`.
   */
  async batchCreate(operations: wire.NewOperation[], options: CreateOptions = {}): Promise<Operation[]> {
    const call = { method: "POST", path: "v1/operations:batchCreate", json: { operations }, ...creation(options) };
    return (await this.#http.json<wire.CreatedOperations>(call)).operations;
  }

  /**
   * Cancels, retries or deletes all operations that match a filter, with an operation of the kind `bulk`, whose output
   * reports the results; a dry run only reports how many match.
   */
  bulk(request: wire.BulkOperations, options: CreateOptions = {}): Promise<wire.BulkOperationsAnswer> {
    const call = { method: "POST", path: "v1/operations:bulk", json: request, ...creation(options) };
    return this.#http.json<wire.BulkOperationsAnswer>(call);
  }

  /** The operation as it is now. */
  get(id: string, options: Options = {}): Promise<Operation> {
    return this.#operation({ method: "GET", path: `v1/operations/${segment(id)}`, ...options });
  }

  /** All details of the operation: also its input, labels, attempts, worker and progress. */
  async getFull(id: string, options: Options = {}): Promise<wire.OperationDetail> {
    const call = { method: "GET", path: `v1/operations/${segment(id)}`, query: { view: "FULL" }, ...options };
    return (await this.#http.json<wire.OperationDetailAnswer>(call)).operation;
  }

  /** One page of the matching operations, newest first, with their exact number. */
  listPage(
    filter: Filter & { page?: number; pageSize?: number } = {},
    options: Options = {},
  ): Promise<wire.OperationsPage> {
    const { page, pageSize, ...rest } = filter;
    const query = { ...filters(rest), "pagination.page": page, "pagination.page_size": pageSize };
    return this.#http.json({ method: "GET", path: "v1/operations", query, ...options });
  }

  /**
   * All matching operations, newest first, fetched page by page as needed. Each is returned once, even if others are
   * created meanwhile, which moves entries to later pages.
   */
  async *list(
    filter: Filter & { pageSize?: number } = {},
    options: Options = {},
  ): AsyncGenerator<Operation, void, undefined> {
    const seen = new Set<string>();
    let page: number | undefined;
    for (;;) {
      const answer = await this.listPage({ ...filter, ...(page === undefined ? {} : { page }) }, options);
      for (const operation of answer.operations) {
        if (!seen.has(operation.id)) {
          seen.add(operation.id);
          yield operation;
        }
      }
      if (answer.operations.length < answer.pagination.page_size) {
        return;
      }
      // The server's own page number is used: some servers start with 1.
      page = answer.pagination.page + 1;
    }
  }

  /**
   * One page of the operations that match a filter, with all details; the filter is e.g.
   * `status = FAILED AND created_at >= "-24h"`.
   */
  searchPage(
    filter = "",
    search: { pageSize?: number; pageToken?: string; oldestFirst?: boolean } = {},
    options: Options = {},
  ): Promise<wire.FoundOperations> {
    const query = {
      filter: filter || undefined,
      page_size: search.pageSize,
      page_token: search.pageToken || undefined,
      order_by: search.oldestFirst ? "created_at" : undefined,
    };
    return this.#http.json({ method: "GET", path: "v1/operations:search", query, ...options });
  }

  /**
   * All operations that match a filter, fetched page by page as needed: even while others are created, none is skipped
   * or returned twice.
   */
  async *search(
    filter = "",
    search: { pageSize?: number; oldestFirst?: boolean } = {},
    options: Options = {},
  ): AsyncGenerator<wire.OperationDetail, void, undefined> {
    let pageToken = "";
    do {
      const answer = await this.searchPage(filter, { ...search, pageToken }, options);
      yield* answer.operations;
      pageToken = answer.next_page_token;
    } while (pageToken);
  }

  /** How many operations match a filter, grouped by the given ones of `status`, `kind` and `project_id`. */
  count(
    filter = "",
    groupBy: readonly ("status" | "kind" | "project_id")[] = [],
    options: Options = {},
  ): Promise<wire.OperationCounts> {
    const query = { filter: filter || undefined, group_by: groupBy.join(",") || undefined };
    return this.#http.json({ method: "GET", path: "v1/operations:count", query, ...options });
  }

  /** Ends a pending operation at once, asks a running one to stop; returns the operation after that. */
  cancel(id: string, options: Options = {}): Promise<Operation> {
    return this.#operation({ method: "POST", path: `v1/operations/${segment(id)}:cancel`, once: true, ...options });
  }

  /** Puts a failed operation back into the queue. */
  retry(id: string, options: Options = {}): Promise<Operation> {
    return this.#operation({ method: "POST", path: `v1/operations/${segment(id)}:retry`, once: true, ...options });
  }

  /**
   * Creates an operation that does the same as one that has ended, with a different input; its label `retry_of` is the
   * id of the ended one, which remains as it is.
   */
  async retryWithInput(id: string, input: unknown, options: CreateOptions = {}): Promise<Operation> {
    const path = `v1/operations/${segment(id)}:retry`;
    const call = { method: "POST", path, json: { input }, ...creation(options) };
    return (await this.#http.json<wire.OperationAnswer>(call)).operation;
  }

  /** Permanently deletes an operation that has ended. */
  async delete(id: string, options: Options = {}): Promise<void> {
    await this.#http.json({ method: "DELETE", path: `v1/operations/${segment(id)}`, once: true, ...options });
  }

  /** How many operations ran in a period (RFC 3339), by minute, hour or day, and how long they took. */
  async stats(
    asked: { from?: string; to?: string; step?: "minute" | "hour" | "day"; byKind?: boolean; kind?: string } = {},
    options: Options = {},
  ): Promise<wire.Stats> {
    const { byKind, ...given } = asked;
    const query = { ...given, group_by: byKind ? "kind" : undefined };
    return this.#http.json<wire.Stats>({ method: "GET", path: "v1/stats", query, ...options });
  }

  /** The workers and what they are running, those with most attempts first. */
  async workers(options: Options = {}): Promise<wire.WorkerList> {
    return this.#http.json<wire.WorkerList>({ method: "GET", path: "v1/workers", ...options });
  }

  /** The saved views of this token and the shared ones, each with the number of matching operations. */
  async views(options: Options = {}): Promise<wire.View[]> {
    return (await this.#http.json<wire.ViewList>({ method: "GET", path: "v1/views", ...options })).views;
  }

  /** Saves a filter under a name. A shared view is visible to everybody in the organization. */
  createView(view: wire.CreateView, options: Options = {}): Promise<wire.View> {
    return this.#view({ method: "POST", path: "v1/views", json: view, once: true, ...options });
  }

  /** The view, with the current number of matching operations. */
  view(id: string, options: Options = {}): Promise<wire.View> {
    return this.#view({ method: "GET", path: `v1/views/${segment(id)}`, ...options });
  }

  /** Replaces the name, the filter and the columns of a view. */
  updateView(id: string, view: wire.UpdateView, options: Options = {}): Promise<wire.View> {
    return this.#view({ method: "POST", path: `v1/views/${segment(id)}:update`, json: view, ...options });
  }

  /** Deletes a view; its operations remain. */
  async deleteView(id: string, options: Options = {}): Promise<void> {
    await this.#http.json({ method: "DELETE", path: `v1/views/${segment(id)}`, once: true, ...options });
  }

  async #view(call: Call): Promise<wire.View> {
    return (await this.#http.json<wire.ViewAnswer>(call)).view;
  }

  /** The whole history of the operation, oldest first. */
  async events(id: string, options: Options = {}): Promise<wire.OperationEvent[]> {
    const events: wire.OperationEvent[] = [];
    let token: string | null | undefined;
    do {
      const query = { page_size: 1000, page_token: token ?? undefined };
      const call = { method: "GET", path: `v1/operations/${segment(id)}/events`, query, ...options };
      const history = await this.#http.json<wire.OperationEvents>(call);
      events.push(...history.events);
      token = history.next_page_token;
    } while (token);
    return events;
  }

  /**
   * Waits until the operation has ended and returns it, even if it failed; `resultOf(await client.wait(id))` throws
   * then.
   *
   * A server that goes away meanwhile is asked again until it is back. A server that has never answered this client is
   * asked again only as often as in every other call (`retries`): the address is probably wrong.
   *
   * @throws {WaitTimeoutError} when it has not ended within `timeoutMs`.
   * @throws {TransportError} when the server was away, or silent, at the end of that time.
   */
  async wait(id: string, options: Options & { timeoutMs?: number } = {}): Promise<Operation> {
    const { signal, timeoutMs } = options;
    const start = performance.now();
    const left = () => (timeoutMs === undefined ? Infinity : Math.max(0, timeoutMs - (performance.now() - start)));
    let lostAt: number | undefined;
    let failures = 0;
    for (;;) {
      const askedAt = performance.now();
      // The current state is requested first when the server is back.
      const longest = lostAt === undefined ? Math.min(left(), LONGEST_WAIT_MS, this.#http.timeoutMs / 2) : 0;
      try {
        const late = Math.min(longest + LATE_MS, left() + LATE_AT_THE_END_MS);
        const operation = await this.#waitOnce(id, longest, late, signal);
        if (hasEnded(operation)) {
          return operation;
        }
        lostAt = undefined;
        failures = 0;
      } catch (error) {
        lostAt ??= askedAt;
        const isUnknown = !this.#http.wasAnswered && failures >= this.#http.retries;
        const hasGivenUp = performance.now() - lostAt >= this.#http.reconnectForMs || left() === 0;
        if (!isTransient(error) || isUnknown || hasGivenUp) {
          throw error;
        }
        await sleep(Math.min(left(), pauseMs(askedPause(error), failures++)), signal);
        continue;
      }
      if (timeoutMs !== undefined && left() === 0) {
        throw new WaitTimeoutError(id, timeoutMs);
      }
      if (performance.now() - askedAt < longest / 2) {
        await sleep(Math.min(left(), WAIT_PAUSE_MS), signal);
      }
    }
  }

  #waitOnce(id: string, milliseconds: number, late: number, signal: AbortSignal | undefined): Promise<Operation> {
    const query = { timeout: durationText(Math.ceil(milliseconds)) };
    const path = `v1/operations/${segment(id)}:wait`;
    // Has a time limit in case the server falls silent.
    return this.#operation({ method: "GET", path, query, timeoutMs: late, retries: 0, signal });
  }

  /**
   * Every transition of the matching operations, from when the promise is fulfilled; reconnects when the connection
   * breaks, without missing or repeating any.
   *
   *     for await (const event of await client.watch({ kind: "export" })) { … }
   *
   * With `lastEventId`, it continues after that event (`WatchEvent.id`) instead.
   */
  watch(filter: Filter & { lastEventId?: string } = {}, options: Options = {}): Promise<Watch> {
    const { lastEventId, ...rest } = filter;
    return Watch.begin(this.#http, filters(rest), lastEventId, options.signal);
  }

  // Evidence.

  /** Stores content. The same content is stored only once, however often it is sent. */
  putEvidence(
    content: Blob | Uint8Array<ArrayBuffer> | string,
    options: Options = {},
  ): Promise<wire.Evidence> {
    const headers = { "Content-Type": "application/octet-stream" };
    return this.#http.json({ method: "POST", path: "v1/evidence", body: content, headers, ...options });
  }

  /** The content with the digest, `sha256:…`, as a whole in memory. */
  getEvidence(digest: string, options: Options = {}): Promise<Uint8Array> {
    const call = { method: "GET", path: `v1/evidence/${segment(digest)}`, ...options };
    return this.#http.send(call, async (response) => new Uint8Array(await response.arrayBuffer()));
  }

  /** The evidence of the organization, newest first. Not for tokens that are limited to projects. */
  async *evidence(
    filter: { kind?: string; name?: string; digest?: string } = {},
    options: Options = {},
  ): AsyncGenerator<wire.ListedEvidence, void, undefined> {
    for await (const page of this.#pages<wire.EvidenceList>("v1/evidence", filter, options)) {
      yield* page.evidence;
    }
  }

  /** Permanently deletes a piece of evidence, unless an unfinished operation or a waiver refers to it. */
  async deleteEvidence(digest: string, options: Options = {}): Promise<void> {
    await this.#http.json({ method: "DELETE", path: `v1/evidence/${segment(digest)}`, once: true, ...options });
  }

  /** Repeats the newest evaluations of the selected evidence; returns the operation that does it. */
  async reevaluateEvidence(request: wire.ReevaluateEvidence, options: Options = {}): Promise<string> {
    const call = { method: "POST", path: "v1/evidence:reevaluate", json: request, once: true, ...options };
    return (await this.#http.json<wire.ReevaluationStarted>(call)).operation_id;
  }

  /** All waivers of the organization, oldest first, including expired ones. */
  async waivers(options: Options = {}): Promise<wire.Waiver[]> {
    return (await this.#http.json<wire.WaiverList>({ method: "GET", path: "v1/waivers", ...options })).waivers;
  }

  /** Adds a waiver: violations that it covers no longer make an evaluation fail. */
  async createWaiver(waiver: wire.CreateWaiver, options: Options = {}): Promise<wire.Waiver> {
    const call = { method: "POST", path: "v1/waivers", json: waiver, once: true, ...options };
    return (await this.#http.json<wire.WaiverAnswer>(call)).waiver;
  }

  /** Removes a waiver. */
  async deleteWaiver(id: string, options: Options = {}): Promise<void> {
    await this.#http.json({ method: "DELETE", path: `v1/waivers/${segment(id)}`, once: true, ...options });
  }

  /**
   * Starts an evaluation of evidence and returns the operation's id; `wait` waits for the verdict, which is the
   * operation's output. Without policies and groups, the server's default policies are used.
   */
  async evaluateEvidence(request: wire.EvaluateEvidence, options: CreateOptions = {}): Promise<string> {
    const call = { method: "POST", path: "v1/agents/evaluate-evidence", json: request, ...creation(options) };
    return (await this.#http.json<wire.EvaluationStarted>(call)).operation_id;
  }

  /**
   * The signed result of an evaluation: a DSSE envelope with an in-toto statement. `longrun verify` verifies it, and so
   * does every program that supports DSSE.
   */
  attestation(id: string, options: Options = {}): Promise<wire.AttestationEnvelope> {
    const path = `v1/operations/${segment(id)}/attestation`;
    return this.#http.json<wire.AttestationEnvelope>({ method: "GET", path, ...options });
  }

  // Schedules.

  /** Creates a schedule, which creates its operation once at each due time. Durations are text: `"3600s"`. */
  createSchedule(schedule: wire.CreateSchedule, options: Options = {}): Promise<wire.Schedule> {
    return this.#schedule({ method: "POST", path: "v1/schedules", json: schedule, once: true, ...options });
  }

  /** All schedules that the token can see, by name. */
  async schedules(options: Options = {}): Promise<wire.Schedule[]> {
    const schedules: wire.Schedule[] = [];
    let token: string | undefined;
    do {
      const call = { method: "GET", path: "v1/schedules", query: { page_token: token }, ...options };
      const page = await this.#http.json<wire.SchedulesPage>(call);
      schedules.push(...page.schedules);
      token = page.next_page_token;
    } while (token);
    return schedules;
  }

  /** The schedule as it is now. */
  schedule(name: string, options: Options = {}): Promise<wire.Schedule> {
    return this.#schedule({ method: "GET", path: `v1/schedules/${segment(name)}`, ...options });
  }

  /** Changes the given fields; the others keep their values. */
  updateSchedule(name: string, change: wire.UpdateSchedule, options: Options = {}): Promise<wire.Schedule> {
    return this.#schedule({ method: "PATCH", path: `v1/schedules/${segment(name)}`, json: change, ...options });
  }

  /** Deletes a schedule; the operations that it created remain. */
  async deleteSchedule(name: string, options: Options = {}): Promise<void> {
    await this.#http.json({ method: "DELETE", path: `v1/schedules/${segment(name)}`, once: true, ...options });
  }

  /** Pauses a schedule: it creates nothing until it is resumed. */
  pauseSchedule(name: string, options: Options = {}): Promise<wire.Schedule> {
    return this.#schedule({ method: "POST", path: `v1/schedules/${segment(name)}:pause`, ...options });
  }

  /** Resumes a schedule from now on. */
  resumeSchedule(name: string, options: Options = {}): Promise<wire.Schedule> {
    return this.#schedule({ method: "POST", path: `v1/schedules/${segment(name)}:resume`, ...options });
  }

  /** Creates the schedule's operation immediately, and returns it. */
  triggerSchedule(name: string, options: Options = {}): Promise<Operation> {
    return this.#operation({ method: "POST", path: `v1/schedules/${segment(name)}:trigger`, once: true, ...options });
  }

  // The token's own organization.

  /** The limits of the token's organization, and which of its kinds are paused. */
  organization(name: string, options: Options = {}): Promise<wire.Organization> {
    return this.#organization({ method: "GET", path: `v1/organizations/${segment(name)}`, ...options });
  }

  /** No more operations of the organization are started; running ones continue. */
  pauseOrganization(name: string, options: Options = {}): Promise<wire.Organization> {
    return this.#organization({ method: "POST", path: `v1/organizations/${segment(name)}:pause`, ...options });
  }

  /** Ends `pauseOrganization`. */
  resumeOrganization(name: string, options: Options = {}): Promise<wire.Organization> {
    return this.#organization({ method: "POST", path: `v1/organizations/${segment(name)}:resume`, ...options });
  }

  /** No more operations of the kind are started in the token's organization. */
  pauseKind(name: string, options: Options = {}): Promise<wire.Kind> {
    return this.#kind({ method: "POST", path: `v1/kinds/${segment(name)}:pause`, ...options });
  }

  /** Ends `pauseKind`. A kind that the service's operators paused for everybody stays paused. */
  resumeKind(name: string, options: Options = {}): Promise<wire.Kind> {
    return this.#kind({ method: "POST", path: `v1/kinds/${segment(name)}:resume`, ...options });
  }

  // Management. It needs the scope admin, and for organizations a token of the instance.

  /** Creates an API token; its secret is returned only this once. */
  createToken(token: wire.CreateToken, options: Options = {}): Promise<wire.IssuedToken> {
    return this.#http.json({ method: "POST", path: "v1/tokens", json: token, once: true, ...options });
  }

  /** The tokens that this client's token manages, oldest first, without their secrets. */
  async *tokens(of: { organization?: string } = {}, options: Options = {}): AsyncGenerator<wire.Token, void, undefined> {
    for await (const page of this.#pages<wire.TokensPage>("v1/tokens", of, options)) {
      yield* page.tokens;
    }
  }

  /** A token, without its secret. */
  token(id: string, options: Options = {}): Promise<wire.Token> {
    return this.#token({ method: "GET", path: `v1/tokens/${segment(id)}`, ...options });
  }

  /** Revokes a token permanently; servers refuse it within a second. */
  revokeToken(id: string, options: Options = {}): Promise<wire.Token> {
    return this.#token({ method: "POST", path: `v1/tokens/${segment(id)}:revoke`, ...options });
  }

  /** Replaces a token with a new one of the same name and rights; the old one stays valid for the overlap. */
  rotateToken(id: string, how: wire.RotateToken = {}, options: Options = {}): Promise<wire.IssuedToken> {
    const path = `v1/tokens/${segment(id)}:rotate`;
    return this.#http.json({ method: "POST", path, json: how, once: true, ...options });
  }

  /** Creates an organization. */
  createOrganization(organization: wire.CreateOrganization, options: Options = {}): Promise<wire.Organization> {
    return this.#organization({ method: "POST", path: "v1/organizations", json: organization, once: true, ...options });
  }

  /** The organizations that the token can reach, by name. */
  async *organizations(options: Options = {}): AsyncGenerator<wire.ListedOrganization, void, undefined> {
    for await (const page of this.#pages<wire.OrganizationsPage>("v1/organizations", {}, options)) {
      yield* page.organizations;
    }
  }

  /** Replaces all limits of an organization: for those left out, the server's configuration applies. */
  setOrganizationLimits(
    name: string,
    limits: wire.SetOrganizationLimits,
    options: Options = {},
  ): Promise<wire.Organization> {
    const path = `v1/organizations/${segment(name)}:setLimits`;
    return this.#organization({ method: "POST", path, json: limits, ...options });
  }

  /**
   * Deletes an organization, or resumes its deletion; with `force`, with everything in it. A large one takes several
   * calls, until the answer's `done` is true.
   */
  deleteOrganization(
    name: string,
    { force, signal }: Options & { force?: boolean } = {},
  ): Promise<wire.OrganizationDeletion> {
    const query = { force: force ? "true" : undefined };
    return this.#http.json({
      method: "DELETE",
      path: `v1/organizations/${segment(name)}`,
      query,
      once: true,
      signal,
    });
  }

  /** The matching entries of the audit log, newest first, fetched page by page as needed. */
  async *audit(filter: AuditFilter = {}, options: Options = {}): AsyncGenerator<wire.AuditEntry, void, undefined> {
    for await (const page of this.#pages<wire.AuditPage>("v1/audit", { ...filter, page_size: 1000 }, options)) {
      yield* page.entries;
    }
  }

  /** The sessions of signed-in users, oldest first. */
  async *sessions(
    of: { organization?: string } = {},
    options: Options = {},
  ): AsyncGenerator<wire.Session, void, undefined> {
    for await (const page of this.#pages<wire.SessionsPage>("v1/sessions", of, options)) {
      yield* page.sessions;
    }
  }

  /** Ends a session permanently, on all servers. */
  async revokeSession(id: string, { organization, signal }: Options & { organization?: string } = {}) {
    const call = { method: "POST", path: `v1/sessions/${segment(id)}:revoke`, query: { organization }, signal };
    return (await this.#http.json<wire.SessionAnswer>(call)).session;
  }

  /** The pages of a list, fetched as they are needed. */
  async *#pages<P extends { next_page_token: string }>(
    path: string,
    asked: Record<string, string | number | undefined>,
    options: Options,
  ): AsyncGenerator<P, void, undefined> {
    let token: string | undefined;
    do {
      const page: P = await this.#http.json({ method: "GET", path, query: { ...asked, page_token: token }, ...options });
      yield page;
      token = page.next_page_token;
    } while (token);
  }

  async #token(call: Call): Promise<wire.Token> {
    return (await this.#http.json<wire.TokenAnswer>(call)).token;
  }

  // The calls of workers, which `Worker` makes for you.

  /**
   * Claims operations, or waits for some; with a token of the instance, only those of these `organizations`, by default
   * of all that the token can reach. An answer that has begun to arrive is read to its end even if the signal is aborted
   * then, because the operations in it are claimed.
   */
  claim(
    request: { kinds: string[]; maxOperations?: number; waitMs?: number; organizations?: string[] },
    options: Options = {},
  ): Promise<wire.ClaimedOperations> {
    const { kinds, maxOperations = 1, waitMs = 0, organizations } = request;
    const json = { kinds, max_operations: maxOperations, wait: durationText(waitMs), organizations };
    const settings = { timeoutMs: this.#http.timeoutMs + waitMs, retries: 0, keep: true };
    return this.#http.json({ method: "POST", path: "v1/operations:claim", json, ...settings, ...options });
  }

  /** Prolongs the leases of up to 1,000 operations; returns one row for each, in the same order. */
  async heartbeat(operations: wire.HeartbeatRow[], options: Options = {}): Promise<wire.HeartbeatResult[]> {
    const call = { method: "POST", path: "v1/operations:heartbeat", json: { operations }, retries: 0, ...options };
    return (await this.#http.json<wire.HeartbeatResults>(call)).operations;
  }

  /** Ends up to 1,000 attempts; returns one row for each, in the same order. */
  async settle(results: wire.SettleRow[], options: Options = {}): Promise<wire.SettleResult[]> {
    const call = { method: "POST", path: "v1/operations:settle", json: { results }, ...options };
    return (await this.#http.json<wire.SettleResults>(call)).results;
  }

  async #operation(call: Call): Promise<Operation> {
    return (await this.#http.json<wire.OperationAnswer>(call)).operation;
  }

  async #organization(call: Call): Promise<wire.Organization> {
    return (await this.#http.json<wire.OrganizationAnswer>(call)).organization;
  }

  async #schedule(call: Call): Promise<wire.Schedule> {
    return (await this.#http.json<wire.ScheduleAnswer>(call)).schedule;
  }

  async #kind(call: Call): Promise<wire.Kind> {
    return (await this.#http.json<wire.KindAnswer>(call)).kind;
  }
}

/** The header that makes a repeated creation return the first result. */
function creation({ idempotencyKey, signal }: CreateOptions) {
  return { headers: { "Idempotency-Key": idempotencyKey ?? newKey() }, signal };
}

/** A new unique key. `crypto.randomUUID` only exists in secure contexts. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The query parameters of lists and watches. */
function filters({ status, kind, resource_type, resource_id }: Filter) {
  return { status: status === undefined ? undefined : statusName(status), kind, resource_type, resource_id };
}
