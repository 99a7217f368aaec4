// Servers to test against: the real one, with a store of its own on a free port.

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server as Listener } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

// From build/tests.
export const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const BINARY = process.env.LONGRUN_BIN ?? join(ROOT, "target/debug/longrun");
/** Longer than anything takes on a busy machine. */
export const PATIENCE_MS = 60_000;

/** A `longrun serve` that can be killed and started again at the same address. */
export class Server {
  readonly url: string;
  readonly token: string;
  /** A token of the instance, which manages organizations and works for them. */
  readonly manager: string;
  readonly #folder: string;
  readonly #environment: Record<string, string | undefined>;
  #process: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    settings: Record<string, string>,
  ) {
    this.url = `http://127.0.0.1:${port}`;
    this.#folder = mkdtempSync(join(tmpdir(), "longrun-"));
    const kinds = ["task", "walk", "never", "other", "word_count", "export", "thumbnail"];
    const declared = kinds.map((kind) => `[kinds.${kind}]\ntype = "remote"\n`);
    writeFileSync(join(this.#folder, "longrun.toml"), declared.join(""));
    const outside = Object.entries(process.env).filter(([name]) => !name.startsWith("LONGRUN_"));
    this.#environment = {
      ...Object.fromEntries(outside),
      LONGRUN_POLICIES_FOLDER: join(ROOT, "examples/policies"),
      ...settings,
    };
    const create = ["token", "create", "--organization", "acme", "--name", "test", "--scopes", "admin", "-o", "id"];
    const options = { cwd: this.#folder, env: this.#environment, encoding: "utf8", stdio: "pipe" } as const;
    this.token = execFileSync(BINARY, [...create, "--store", "sqlite:longrun.db"], options).trim();
    const manage = ["token", "create", "--instance", "--name", "manager", "--scopes", "admin,operations:work", "-o", "id"];
    this.manager = execFileSync(BINARY, [...manage, "--store", "sqlite:longrun.db"], options).trim();
  }

  static async begin(settings: Record<string, string> = {}): Promise<Server> {
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    free.close();
    const server = new Server(port, settings);
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const listen = ["--listen", `127.0.0.1:${this.port}`, "--admin-listen", "127.0.0.1:0"];
    this.#process = spawn(BINARY, ["serve", ...listen], {
      cwd: this.#folder,
      env: this.#environment,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const lines = createInterface(this.#process.stderr!);
    const seen: string[] = [];
    await new Promise<void>((resolve, reject) => {
      lines.on("line", (line) => {
        seen.push(line);
        if (line.includes('"listening"')) {
          resolve();
        }
      });
      lines.once("close", () => reject(new Error(seen.join("\n"))));
    });
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    const ended = once(this.#process!, "exit");
    this.#process!.kill("SIGKILL");
    await ended;
  }

  /** Ends it for good. */
  async end(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true });
  }
}

/** Stands between a client and a server, and loses answers when told to. */
export class Proxy {
  /** How many of the next answers are lost: the server has carried out the call. */
  lose = 0;
  /** How many answers were lost. */
  lost = 0;
  readonly #listener: Listener;

  private constructor(server: Server) {
    this.#listener = createServer((client) => {
      const upstream = connect(server.port, "127.0.0.1");
      client.on("data", (data) => upstream.write(data));
      upstream.on("data", (data) => {
        if (this.lose > 0) {
          this.lose--;
          this.lost++;
          client.destroy();
          upstream.destroy();
        } else {
          client.write(data);
        }
      });
      for (const [end, other] of [[client, upstream] as const, [upstream, client] as const]) {
        end.on("close", () => other.destroy());
        end.on("error", () => other.destroy());
      }
    });
  }

  static async begin(server: Server): Promise<Proxy> {
    const proxy = new Proxy(server);
    proxy.#listener.listen(0, "127.0.0.1");
    await once(proxy.#listener, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.address() as AddressInfo).port}`;
  }

  end(): void {
    this.#listener.close();
  }
}

/** Asks until it holds, and answers what it then is. */
export async function until<T>(what: string, holds: () => Promise<T> | T): Promise<NonNullable<T>> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await holds();
    if (found) {
      return found;
    }
    if (performance.now() > deadline) {
      throw new Error(`not in time: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A promise that somebody else fulfils. */
export function promise(): { fulfilled: Promise<void>; fulfil: () => void } {
  let fulfil = () => {};
  const fulfilled = new Promise<void>((resolve) => (fulfil = resolve));
  return { fulfilled, fulfil };
}
