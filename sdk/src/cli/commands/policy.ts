// tallystick policy test|apply: what the firewall allows, as data that its owner signs.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isAddress, type Address, type Hex } from "viem";
import { compilePolicy, concerns, evaluate, type Facts } from "../../firewall/evaluate.ts";
import { parsePolicy, policyHashOf, policyTypedData, type Policy } from "../../firewall/policy.ts";
import { TallystickError } from "../../errors.ts";
import type { Command, Input } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { findMandate } from "../mandate-files.ts";
import { parseUsdc } from "../money.ts";
import { columns } from "../output.ts";
import { writeSignedPolicy } from "../policy-files.ts";
import { callOpen } from "../relayer-api.ts";

export const policyTest: Command = {
  path: "policy test",
  about: "Ask a policy about a payment that nobody makes",
  args: "<policy.json>",
  positionals: [1, 1],
  takesIds: true,
  details: `Nothing is sent and nobody is asked: the same evaluation as the guard's and the relayer's, on what you state. What you leave out
nobody knows, and that counts against the payment where a rule needs it. Exit code 3 when it is refused or waits for a person.`,
  needs: ["state"],
  options: {
    payee: { type: "string", value: "address", about: "whom it would pay" },
    price: { type: "string", value: "usdc", about: "what it would cost at most" },
    payer: { type: "string", value: "address", about: "who would pay; the policy's owner when left out" },
    mandate: { type: "string", value: "mandate", about: "the mandate it would be under; id or file" },
    service: { type: "string", value: "name", about: "the service's name" },
    "service-owner": { type: "string", value: "address", about: "whose service it is" },
    capability: { type: "string", value: "tag", about: "what is bought" },
    "registered-payee": { type: "string", value: "address", about: "whom the service is registered with" },
    listed: { type: "string", value: "usdc", about: "the listed price" },
    negotiated: { type: "string", value: "usdc", about: "the negotiated price" },
    at: { type: "string", value: "time", about: "when, such as 2026-03-01T09:30:00Z; now when left out" },
  },
  examples: [{ about: "would it let half a dollar go there?", line: "tallystick policy test policy.json --payee 0x2f31…9c --price 0.5" }],
  async run(context, input) {
    const policy = await readPolicy(input.positionals[0]!);
    const facts = await factsOf(context, policy, input);
    const at = typeof input.values["at"] === "string" ? Date.parse(input.values["at"]) : Date.now();
    if (Number.isNaN(at)) throw usageError("--at must be a time such as 2026-03-01T09:30:00Z.");
    const compiled = compilePolicy(policy);
    const { decision, rule, reason } = evaluate([compiled], facts, at);
    const json = { decision, rule, reason, concerns: concerns(policy, facts), policyHash: compiled.policyHash };
    return { exit: decision === "APPROVED" ? "ok" : "limit", json, text: columns([[decision, rule, reason]]) };
  },
};

async function factsOf(context: Context, policy: Policy, { values }: Input): Promise<Facts> {
  const text = (name: string) => (typeof values[name] === "string" ? (values[name] as string) : undefined);
  const address = (name: string): Address | undefined => {
    const given = text(name);
    if (given !== undefined && !isAddress(given)) throw usageError(`--${name} must be an address with a right checksum.`);
    return given;
  };
  const money = (name: string) => (text(name) === undefined ? undefined : parseUsdc(text(name)!, `--${name}`));
  const [payee, price] = [address("payee"), money("price")];
  if (payee === undefined || price === undefined) throw usageError("Say whom it would pay and how much: --payee <address> --price <usdc>.");
  const file = text("mandate") === undefined ? undefined : await findMandate(context.settings.stateDir, text("mandate")!);
  const principal = file?.lineage[0].mandate.principal;
  return {
    scheme: "batch-settlement", payer: address("payer") ?? principal ?? policy.owner, payee, price, registeredPayee: address("registered-payee"), service: text("service"), serviceOwner: address("service-owner"),
    capability: text("capability"), listedPrice: money("listed"), negotiatedPrice: money("negotiated"), approvals: [],
    mandate: file === undefined ? undefined : { mandateId: file.id, principal: principal!, chain: file.ids, valid: true },
  };
}

export const policyApply: Command = {
  path: "policy apply",
  about: "Sign a policy and put it in force: with your guard, and with a relayer",
  args: "<policy.json>",
  positionals: [1, 1],
  details: `The owner named in the policy signs. It goes into the storage folder's policies/, where tallystick guard takes it in within a second,
and to the relayer when one is given. Only a higher version replaces one that is in force; it is ended by a version that allows everything.`,
  needs: ["chain", "relayer", "key", "state"],
  options: {},
  examples: [{ about: "for the guard, and for what passes the relayer", line: "tallystick policy apply policy.json --relayer https://relayer.example" }],
  async run(context, { positionals: [path] }) {
    const [chain, account] = [await context.chain(), await context.account()];
    const policy = await readPolicy(path!);
    if (policy.owner !== account.address.toLowerCase()) throw usageError(`The policy is ${policy.owner}'s; your key is ${account.address}.`, undefined, "policy_owner");
    const signature: Hex = await account.signTypedData(policyTypedData(policy, chain.info.chainId));
    const relayer = context.settings.relayerUrl === undefined ? undefined : await callOpen(context, "/api/v1/firewall/policies", { method: "POST", body: { policy, signature } });
    const file = await writeSignedPolicy(join(context.settings.stateDir, "policies"), { policy, signature });
    const json = { owner: policy.owner, name: policy.name, version: policy.version, policyHash: policyHashOf(policy), signature, file, relayer: relayer === undefined ? null : context.relayerUrl() };
    return { json, text: columns([["policy", `${policy.name}, version ${policy.version}`], ["hash", json.policyHash], ["guard", file], ["relayer", json.relayer ?? "none was given"]]) };
  },
};

async function readPolicy(path: string): Promise<Policy> {
  const text = await readFile(path, "utf8").catch(() => {
    throw usageError(`${path} cannot be read.`, undefined, "file_unreadable");
  });
  try {
    return parsePolicy(JSON.parse(text));
  } catch (cause) {
    if (cause instanceof TallystickError) throw new CliError({ code: cause.code, exit: "usage", detail: `${path}: ${cause.message}`, field: cause.field, cause });
    throw usageError(`${path} is no JSON.`, undefined, "policy_malformed");
  }
}
