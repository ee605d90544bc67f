// npm run deploy -- --network <base|base-sepolia|local>. See docs/DEPLOY.md.
import { createInterface } from "node:readline/promises";
import { relative, resolve } from "node:path";
import { formatGwei, type Address } from "viem";
import { DEPLOYED, type DeployedName } from "../ignition/modules/Tallystick.ts";
import { journalFolder } from "../ignition/journal.ts";
import { parametersOf, type Parameters } from "../ignition/parameters.ts";
import { compile } from "./artifacts.ts";
import { ignite } from "./deploy/ignite.ts";
import { readOptions, USAGE, type Options, type Problem } from "./deploy/options.ts";
import { eth, originOf, preflight, type Preflight } from "./deploy/preflight.ts";
import { verifyDeployment, type Addresses } from "./deploy/verify.ts";

const args = process.argv.slice(2);
const json = args.includes("--json");
const say = (line: string) => void (json ? process.stderr : process.stdout).write(`${line}\n`);

/** Ends the command with what stands in the way. */
class Refusal extends Error {
  override name = "Refusal";
  readonly problems: Problem[];
  constructor(problems: Problem[]) {
    super(problems.map(({ problem }) => problem).join("; "));
    this.problems = problems;
  }
}

const report: Record<string, unknown> = { ok: false };
if (args.includes("--help")) {
  process.stdout.write(`${USAGE}\n`);
} else {
  try {
    await main();
    report.ok = true;
  } catch (error) {
    const problems = error instanceof Refusal ? error.problems : [unexpected(error)];
    report.problems = problems;
    for (const { code, problem, fix } of problems) process.stderr.write(`\n${code}: ${problem}\n  fix: ${fix}\n`);
    process.exitCode = 1;
  }
  if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
}

async function main(): Promise<void> {
  const options = readOptions(args);
  if (Array.isArray(options)) throw new Refusal(options);
  const parameters = parametersOf(options.network);
  Object.assign(report, { network: options.network, chainId: parameters.chainId });

  say("compiling …");
  compile();
  const found = await preflight({
    parameters,
    network: options.network,
    rpcUrl: options.rpcUrl ?? process.env[parameters.rpcUrlVariable],
    privateKey: process.env.DEPLOYER_PRIVATE_KEY,
    deployments: options.deployments === undefined ? undefined : resolve(options.deployments),
  });
  tell(found, options, parameters);
  if (found.problems.length > 0) throw new Refusal(found.problems);

  const nothingToDo = found.missing.length === 0 && found.foreign.length === 0;
  Object.assign(report, { nothingToDo });
  if (options.dryRun) {
    say(nothingToDo ? "\nnothing to do" : `\nall checks passed, nothing was sent. Next: npm run deploy -- --network ${options.network}`);
    return;
  }
  const predicted = byName(found.plan);
  const addresses = nothingToDo ? predicted : await run(found, options, parameters);
  Object.assign(report, { contracts: addresses });
  if (nothingToDo) say("\nnothing to do: all contracts stand and the journal has them");
  if (parameters.strategy === "create2") compare(predicted, addresses);
  await verify(found, parameters, addresses);
  if (!nothingToDo) sayNext(options, parameters, addresses);
}

function tell(found: Preflight, { network }: Options, parameters: Parameters): void {
  const { account, balance, cost, rpcUrl, missing, foreign } = found;
  say(`\n${network} (chain ${parameters.chainId})${rpcUrl === undefined ? "" : ` by ${originOf(rpcUrl)}`}`);
  if (account !== undefined) say(`deployer   ${account.address}${balance === undefined ? "" : `  holds ${eth(balance)}`}`);
  if (cost !== undefined) {
    const perGas = cost.gas === 0n ? 0n : cost.expected / cost.gas;
    say(`cost       about ${eth(cost.expected)} (${cost.gas} gas at ${Number(formatGwei(perGas)).toPrecision(3)} gwei with the L1 fee); to hold: ${eth(cost.required)}`);
  }
  if (parameters.strategy === "create2") {
    say("predicted addresses, whoever deploys");
    for (const creation of found.plan) {
      const state = found.client === undefined ? "" : foreign.includes(creation) ? "  (stands, not from this journal)" : missing.includes(creation) ? "" : "  (stands)";
      say(`  ${creation.name.padEnd(26)} ${creation.address}${state}`);
    }
    Object.assign(report, { predicted: byName(found.plan) });
  }
  Object.assign(report, {
    deployer: account?.address,
    estimate: cost === undefined ? undefined : { gas: `${cost.gas}`, expectedWei: `${cost.expected}`, requiredWei: `${cost.required}` },
  });
}

async function run(found: Preflight, options: Options, parameters: Parameters): Promise<Addresses> {
  const isPublic = parameters.strategy === "create2";
  if (isPublic && !options.yes) await confirm(options);
  const folder = journalFolder(parameters.chainId, options.deployments);
  say("\ndeploying …");
  try {
    return await ignite({
      network: options.network,
      parameters,
      rpcUrl: found.rpcUrl!,
      privateKey: found.privateKey!,
      deployer: found.account!.address,
      standing: byName(found.foreign),
      journal: isPublic ? resolve(folder) : undefined,
      say: (line) => say(`  ${line}`),
    });
  } catch (error) {
    const problem = scrub(error, found);
    const again = `npm run deploy -- --network ${options.network}`;
    throw new Refusal([{ code: "deployment_failed", problem, fix: isPublic ? `run it again, it goes on where it stopped: ${again}   (docs/DEPLOY.md, "When it stops")` : again }]);
  }
}

async function confirm({ network }: Options): Promise<void> {
  const refuse = (problem: string) => new Refusal([{ code: "not_confirmed", problem, fix: "--yes to send without a question" }]);
  if (!process.stdin.isTTY || json) throw refuse("nobody is there to say yes");
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question(`\nThis sends transactions that cannot be taken back. Type ${network} to go on: `);
  prompt.close();
  if (answer.trim() !== network) throw refuse("not confirmed, nothing was sent");
}

function compare(predicted: Addresses, addresses: Addresses): void {
  const other = Object.entries(predicted).filter(([name, address]) => addresses[name as DeployedName] !== address);
  const problem = (name: string, address: Address) => `${name} stands at ${addresses[name as DeployedName]}, predicted was ${address}`;
  if (other.length === 0) return say("\naddresses are the predicted ones");
  throw new Refusal(other.map(([name, address]) => ({ code: "address_differs", problem: problem(name, address), fix: "use none of these contracts; tell the maintainers" })));
}

async function verify(found: Preflight, parameters: Parameters, addresses: Addresses): Promise<void> {
  const { checks, faults } = await verifyDeployment(found.client!, parameters.chainId, addresses);
  Object.assign(report, { checks: checks.length });
  if (faults.length === 0) return say(`verified on chain: code, domains, typehashes, digests (${checks.length} checks)`);
  throw new Refusal(
    faults.map(({ contract, what, expected, actual }) => ({
      code: "verification_failed",
      problem: `${contract} at ${addresses[contract]}: ${what} is ${actual}, expected ${expected}`,
      fix: "use none of these contracts; tell the maintainers",
    })),
  );
}

function sayNext({ deployments }: Options, parameters: Parameters, addresses: Addresses): void {
  if (parameters.strategy === "basic") {
    say("\ndeployed. This chain is gone when its process ends.");
    for (const name of DEPLOYED) say(`  ${name.padEnd(26)} ${addresses[name]}`);
    return;
  }
  const folder = relative(process.cwd(), journalFolder(parameters.chainId, deployments));
  say(`${parameters.explorer}/address/${addresses.SessionChannels}`);
  say(`\ndeployed. Next: npm run build && git add ${folder} sdk/src/addresses.ts && git commit`);
}

function byName(creations: Preflight["plan"]): Addresses {
  return Object.fromEntries(creations.map(({ name, address }) => [name, address])) as Addresses;
}

/** An error's text without the RPC URL, whose path may be a provider's key. */
function scrub(error: unknown, { rpcUrl }: Pick<Preflight, "rpcUrl">): string {
  const text = error instanceof Error ? error.message : String(error);
  return rpcUrl === undefined ? text : text.replaceAll(rpcUrl, originOf(rpcUrl));
}

function unexpected(error: unknown): Problem {
  const problem = (error instanceof Error ? error.message : String(error)).replaceAll(/https?:\/\/\S+/g, (url) => originOf(url));
  return { code: "unexpected", problem, fix: "run it again; what a public deployment has done stands in its journal and is not done twice" };
}
