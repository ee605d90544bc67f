// `npm run deploy` as an operator runs it: a process of its own, against a node that listens on a port.
import { expect } from "chai";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import hre from "hardhat";
import { createHardhatRuntimeEnvironment } from "hardhat/hre";
import { createPublicClient, http, parseEther, toHex, type Address, type Hex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { journalFolder, readJournal } from "../../ignition/journal.ts";
import Tallystick, { DEPLOYED } from "../../ignition/modules/Tallystick.ts";
import { parametersOf } from "../../ignition/parameters.ts";
import { CREATEX } from "../../ignition/predict.ts";
import { renderAddresses } from "../../scripts/addresses.ts";
import { compile } from "../../scripts/artifacts.ts";
import { planFor } from "../../scripts/deploy/plan.ts";
import { rpc, startChain, type LocalChain } from "../../scripts/local/chain.ts";
import { childEnvironment, freePort } from "../../scripts/local/process.ts";

type Report = {
  ok: boolean;
  nothingToDo?: boolean;
  contracts?: Record<string, Address>;
  predicted?: Record<string, Address>;
  estimate?: { gas: string; expectedWei: string; requiredWei: string };
  checks?: number;
  problems?: { code: string; problem: string; fix: string }[];
};
type Ran = { code: number | null; report: Report; codes: string[]; said: string };

/** Runs the command with --json. `onSaid` sees each piece of progress and may end the process by its pid. */
async function deploy(args: string[], env: Record<string, string> = {}, onSaid: (said: string, kill: () => void) => void = () => {}): Promise<Ran> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", "scripts/deploy.ts", "--json", ...args], {
    env: childEnvironment(env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [out, said] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => onSaid((said += text), () => child.kill("SIGKILL")));
  const code = await new Promise<number | null>((done, failed) => child.once("error", failed).once("close", done));
  // Whatever happens, no key and no path of an RPC URL is ever printed.
  for (const secret of [env.DEPLOYER_PRIVATE_KEY, SECRET_PATH]) if (secret) expect(out + said).to.not.include(secret.replace(/^0x/, ""));
  const report = (code === null ? { ok: false } : JSON.parse(out)) as Report;
  return { code, report, codes: (report.problems ?? []).map((problem) => problem.code), said };
}

const SECRET_PATH = "provider-key-1234567890";
const base = parametersOf("base");
const plan = planFor(base, { deployer: privateKeyToAccount(generatePrivateKey()).address, chainId: base.chainId });
const predicted = Object.fromEntries(plan.map(({ name, address }) => [name, address]));

/** A chain with Base's id and with CreateX, mining as a public one does. */
async function startBase() {
  const forCreateX = await hre.network.create("default");
  const { strategy, salt } = base;
  await forCreateX.ignition.deploy(Tallystick, { strategy, strategyConfig: { salt } });
  const createX = await forCreateX.provider.request({ method: "eth_getCode", params: [CREATEX, "latest"] });
  await forCreateX.close();

  const node = await createHardhatRuntimeEnvironment({
    networks: { base: { type: "edr-simulated", chainType: "op", chainId: base.chainId, hardfork: "isthmus", mining: { auto: false, interval: 100 }, allowBlocksWithSameTimestamp: true } },
  });
  const server = await node.network.createServer("base", "127.0.0.1", 0);
  const { port } = await server.listen();
  const url = `http://127.0.0.1:${port}`;
  await rpc(url, "hardhat_setCode", [CREATEX, createX]);
  return { url, client: createPublicClient({ transport: http(url), cacheTime: 0 }), stop: () => server.close() };
}

describe("npm run deploy", function () {
  this.timeout(240_000); // compiles on a fresh checkout
  let chain: Awaited<ReturnType<typeof startBase>>;
  let local: LocalChain;
  let empty: Hex;
  let folder: string;

  before(async () => {
    compile();
    chain = await startBase();
    local = await startChain();
    empty = await rpc<Hex>(chain.url, "evm_snapshot");
  });
  after(async () => {
    await chain.stop();
    await local.stop();
  });
  beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "deployments-"))));
  afterEach(async () => {
    await rm(folder, { recursive: true });
    await rpc(chain.url, "evm_revert", [empty]);
    empty = await rpc<Hex>(chain.url, "evm_snapshot");
  });

  const onBase = () => ["--network", "base", "--rpc-url", `${chain.url}/${SECRET_PATH}`, "--deployments", folder];
  const journalPath = () => journalFolder(base.chainId, folder);
  const isEmpty = async () => {
    const codes = await Promise.all(plan.map(({ address }) => chain.client.getCode({ address })));
    return codes.every((code) => code === undefined) && !existsSync(journalPath());
  };
  async function deployer(ether: string) {
    const privateKey = generatePrivateKey();
    const { address } = privateKeyToAccount(privateKey);
    await rpc(chain.url, "hardhat_setBalance", [address, toHex(parseEther(ether))]);
    const nonce = () => chain.client.getTransactionCount({ address });
    return { address, nonce, env: { DEPLOYER_PRIVATE_KEY: privateKey } };
  }

  describe("refuses, says why and how to go on, and sends nothing", () => {
    afterEach(async () => expect(await isEmpty()).to.equal(true));

    const refused = async (expected: string[], args: string[], env: Record<string, string> = {}) => {
      const { code, codes, report } = await deploy(args, env);
      expect(codes).to.deep.equal(expected);
      expect(code).to.equal(1);
      expect(report.ok).to.equal(false);
      for (const { problem, fix } of report.problems!) expect(`${problem}${fix}`).to.have.length.greaterThan(20);
      return report.problems!;
    };

    it("an unknown network or none, and names those there are", async () => {
      const [problem] = await refused(["unknown_network"], ["--network", "mainnet"]);
      for (const name of ["local", "base-sepolia", "base"]) expect(problem!.fix).to.include(name);
      await refused(["unknown_network"], []);
    });

    it("a key given as an argument", async () => {
      const key = generatePrivateKey();
      for (const args of [["--private-key", key], [`--private-key=${key}`], [key]]) {
        const [problem] = await refused(["bad_usage"], ["--network", "base", ...args]);
        expect(JSON.stringify(problem)).to.not.include(key.slice(2));
      }
    });

    it("a missing key and a missing RPC, both at once", async () => {
      const problems = await refused(["key_missing", "rpc_missing"], ["--network", "base"]);
      expect(problems[0]!.fix).to.include("DEPLOYER_PRIVATE_KEY");
      expect(problems[1]!.fix).to.include("BASE_RPC_URL");
    });

    it("a missing key where all else is well", async () => void (await refused(["key_missing"], [...onBase(), "--yes"])));

    it("a malformed key", async () => {
      const key = generatePrivateKey();
      const order = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
      const malformed = [key.slice(2), key.slice(0, -1), `${key}0`, `0x${"zz".repeat(32)}`, `0x${"00".repeat(32)}`, order, "test test test"];
      for (const DEPLOYER_PRIVATE_KEY of malformed) await refused(["key_malformed", "rpc_missing"], ["--network", "base"], { DEPLOYER_PRIVATE_KEY });
    });

    it("the published key of a development account on a public chain", async () => {
      const DEPLOYER_PRIVATE_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
      await refused(["key_published"], [...onBase(), "--yes"], { DEPLOYER_PRIVATE_KEY });
    });

    it("an RPC that is dead, is no URL, or is no RPC", async () => {
      const { env } = await deployer("1");
      const dead = `http://127.0.0.1:${await freePort()}/${SECRET_PATH}`;
      const [problem] = await refused(["rpc_unreachable"], ["--network", "base"], { ...env, BASE_RPC_URL: dead });
      expect(problem!.problem).to.include("ECONNREFUSED");
      await refused(["rpc_malformed"], ["--network", "base", "--rpc-url", "localhost:8545"], env);

      const website = createServer((_, response) => response.writeHead(403).end("<html>"));
      await new Promise<void>((listening) => website.listen(0, "127.0.0.1", listening));
      const { port } = website.address() as AddressInfo;
      const [other] = await refused(["rpc_unreachable"], ["--network", "base", "--rpc-url", `http://127.0.0.1:${port}`], env);
      expect(other!.problem).to.include("403");
      await new Promise((closed) => website.close(closed));
    });

    it("an RPC of another chain", async () => {
      const { env } = await deployer("1");
      const [problem] = await refused(["rpc_wrong_chain"], ["--network", "base", "--rpc-url", local.url], env);
      expect(problem!.problem).to.include("84532").and.include("8453");
    });

    it("a local chain that poses as Base Sepolia", async () => {
      const problems = await refused(["key_missing", "createx_missing"], ["--network", "base-sepolia", "--rpc-url", local.url]);
      expect(problems[1]!.fix).to.include("--network local");
    });

    it("an account without ether, and names the sum", async () => {
      for (const ether of ["0", "0.000001"]) {
        const { env, address, nonce } = await deployer(ether);
        const [problem] = await refused(["balance_too_low"], [...onBase(), "--yes"], env);
        expect(problem!.fix).to.include(address).and.match(/0\.\d+ ETH/);
        expect(await nonce()).to.equal(0);
      }
    });

    it("a public chain without a yes", async () => {
      const { env, nonce } = await deployer("1");
      await refused(["not_confirmed"], onBase(), env);
      expect(await nonce()).to.equal(0);
    });

    it("--network local on another machine", async () => {
      await refused(["rpc_not_local"], ["--network", "local", "--rpc-url", "https://sepolia.base.org"]);
    });
  });

  it("checks everything and sends nothing with --dry-run", async () => {
    const { env, nonce } = await deployer("1");
    const { code, report } = await deploy([...onBase(), "--dry-run"], env);
    expect(code).to.equal(0);
    expect(report.predicted).to.deep.equal(predicted);
    expect(BigInt(report.estimate!.requiredWei) > BigInt(report.estimate!.expectedWei)).to.equal(true);
    expect(await nonce()).to.equal(0);
    expect(await isEmpty()).to.equal(true);
  });

  it("deploys to Base at the predicted addresses, once, within the estimate, and tells the SDK", async () => {
    expect(renderAddresses(folder)).to.include('status: "predicted"').and.not.include('"deployed",');
    const { env, address, nonce } = await deployer("1");
    const { code, report, codes } = await deploy([...onBase(), "--yes"], env);
    expect(codes).to.deep.equal([]);
    expect(code).to.equal(0);
    expect(report.contracts).to.deep.equal(predicted);
    expect(report.checks).to.be.greaterThan(12);
    expect(await nonce()).to.equal(DEPLOYED.length);
    const spent = parseEther("1") - (await chain.client.getBalance({ address }));
    expect(spent <= BigInt(report.estimate!.requiredWei)).to.equal(true);

    const { blocks } = readJournal(journalPath());
    const startBlock = blocks["Tallystick#SessionChannels"]!;
    const [channels] = plan;
    expect(await chain.client.getCode({ address: channels!.address, blockNumber: BigInt(startBlock) })).to.not.equal(undefined);
    expect(await chain.client.getCode({ address: channels!.address, blockNumber: BigInt(startBlock - 1) })).to.equal(undefined);
    const rendered = renderAddresses(folder);
    expect(rendered).to.include('status: "deployed"').and.include(`startBlock: ${Math.min(...Object.values(blocks))},`); // the first of any
    expect(rendered).to.include('status: "predicted"'); // Base Sepolia

    // Again, with nobody's key: it only looks.
    const again = await deploy([...onBase(), "--yes"]);
    expect(again.codes).to.deep.equal([]);
    expect(again.report).to.include({ ok: true, nothingToDo: true, checks: report.checks });
    expect(again.report.contracts).to.deep.equal(predicted);
    expect(await nonce()).to.equal(DEPLOYED.length);

    // The same journal on a chain where nothing stands.
    for (const { address: standing } of plan) await rpc(chain.url, "hardhat_setCode", [standing, "0x"]);
    const elsewhere = await deploy([...onBase(), "--yes"], env);
    expect(elsewhere.codes).to.deep.equal(DEPLOYED.map(() => "journal_of_other_chain"));
    expect(await nonce()).to.equal(DEPLOYED.length);
  });

  it("goes on where a killed run stopped, creating nothing twice", async () => {
    const { env, nonce } = await deployer("1");
    const killed = await deploy([...onBase(), "--yes"], env, (said, kill) => void (said.includes("sent 0x") && kill()));
    expect(killed.code).to.equal(null);
    const { code, report, said } = await deploy([...onBase(), "--yes"], env);
    expect(said).to.include("resuming");
    expect(code).to.equal(0);
    expect(report.contracts).to.deep.equal(predicted);
    expect(await nonce()).to.equal(DEPLOYED.length);
  });

  it("takes over what a stranger deployed at the same addresses first", async () => {
    const stranger = await deployer("1");
    const elsewhere = await mkdtemp(join(tmpdir(), "stranger-"));
    const theirs = await deploy([...onBase(), "--yes", "--deployments", elsewhere], stranger.env);
    expect(theirs.report.ok).to.equal(true);
    await rm(elsewhere, { recursive: true });

    const { env, nonce } = await deployer("0");
    const { report, codes } = await deploy([...onBase(), "--yes"], env);
    expect(codes).to.deep.equal([]);
    expect(report).to.include({ ok: true, nothingToDo: false });
    expect(report.contracts).to.deep.equal(predicted);
    expect(await nonce()).to.equal(0);
    expect(renderAddresses(folder)).to.include('status: "deployed"').and.include("startBlock: 0,");
    const again = await deploy([...onBase(), "--yes"]);
    expect(again.report).to.include({ ok: true, nothingToDo: true });
  });

  it("deploys to the local chain with its first account, keeping nothing", async () => {
    const { code, report, codes } = await deploy(["--network", "local", "--rpc-url", local.url, "--deployments", folder]);
    expect(codes).to.deep.equal([]);
    expect(code).to.equal(0);
    expect(Object.keys(report.contracts!)).to.have.members([...DEPLOYED]);
    const code0 = await rpc<Hex>(local.url, "eth_getCode", [report.contracts!.SessionChannels, "latest"]);
    expect(code0.length).to.be.greaterThan(10_000);
    expect(existsSync(journalFolder(local.chainId, folder))).to.equal(false);
  });
});
