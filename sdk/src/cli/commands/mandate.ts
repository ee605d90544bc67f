// tallystick mandate create|list|show|revoke|tree: what a person lets an agent spend.
import { createWalletClient, getAddress, http, isAddress, type Address } from "viem";
import { openReader, send as sendWithdrawal, type ChainWriter } from "../../agent/chain.ts";
import { TallystickError } from "../../errors.ts";
import type { Lineage } from "../../lineage.ts";
import { allowRegistry, approveMandate, createMandate, delegateMandate, epochOf, revokeMandate, signRevocation, type MandateWishes } from "../../mandates.ts";
import type { Chain } from "../chain.ts";
import { reading } from "../chain.ts";
import { readState } from "../channels.ts";
import type { Command, Input } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, usageError } from "../exit.ts";
import { findMandate, listMandates, writeMandate, type MandateFile } from "../mandate-files.ts";
import { stateOf, viewJson, viewMandate, viewText, type MandateView } from "../mandate-view.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns, utc } from "../output.ts";

export const mandateCreate: Command = {
  path: "mandate create",
  about: "Sign what an agent may spend of your money",
  positionals: [0, 0],
  takesIds: true,
  details: `Signs with your key, the principal's; with --parent, with the key of that mandate's agent, who hands on a part of it. The file it
writes is what the agent is given (tallystick pay --mandate); it holds no key. Deposits under it are pulled from the allowance that
you give the registry once: --allow sends that. Nothing else is sent unless --approve is given.`,
  needs: ["chain", "registry", "key", "state"],
  options: {
    agent: { type: "string", value: "address", about: "who may spend; the agent's own key, not yours" },
    limit: { type: "string", value: "usdc", about: "most in all" },
    "per-period": { type: "string", value: "usdc", about: "most in one period" },
    period: { type: "string", value: "time", about: "length of a period, such as 12h; 1d when left out" },
    "per-payment": { type: "string", value: "usdc", about: "most in one payment or deposit; the limit when left out" },
    payee: { type: "string", value: "address", multiple: true, about: "whom it may pay; may be repeated; anybody when left out" },
    capability: { type: "string", value: "tag", about: "the one kind of service it may buy" },
    "valid-for": { type: "string", value: "time", about: "such as 30d; 7d when left out" },
    parent: { type: "string", value: "mandate", about: "the mandate to hand on a part of; id or file" },
    out: { type: "string", value: "file", about: "where to write it; the storage folder when left out" },
    allow: { type: "boolean", about: "let the registry move your tokens, within mandates alone (a transaction, once)" },
    approve: { type: "boolean", about: "put it on chain, which makes deposits cheaper (a transaction)" },
  },
  examples: [
    { about: "5 USDC for a month, one a day, to two services", line: "tallystick mandate create --agent 0x7099…79C8 --limit 5 --per-period 1 --payee 0x2f31…9c --payee 0x88aa…01 --valid-for 30d --allow" },
    { about: "a part of it for another agent", line: "tallystick mandate create --parent 0x51fe --agent 0x3C44…93BC --limit 0.5" },
  ],
  async run(context, { values }) {
    const [chain, account, at] = [await context.chain(), await context.account(), await context.registryAt()];
    const wishes = wishesOf(values, chain.info.usdc.address);
    const parent = typeof values["parent"] === "string" ? await findMandate(context.settings.stateDir, values["parent"]) : undefined;
    const lineage = parent === undefined ? await createRoot(context, chain, wishes) : await delegateMandate(account, at, parent.lineage, wishes);
    const file = await writeMandate(context.settings.stateDir, at, lineage, values["out"] as string | undefined);
    const writer = values["allow"] === true || values["approve"] === true ? await writerOf(context, chain) : undefined;
    const reader = openReader(chain.rpcUrl);
    const allowance = values["allow"] === true ? await reading(() => allowRegistry(writer!, reader, at, lineage[0].mandate.token)) : undefined;
    const approval = values["approve"] === true ? await reading(() => approveMandate(writer!, reader, at, lineage)) : undefined;
    const transactions = { ...(allowance === undefined ? {} : { allowance }), ...(approval === undefined ? {} : { approval }) };
    const view = await viewMandate(context, chain, file);
    return { json: { ...viewJson(view), file: file.path, transactions }, text: [viewText(view), "", file.path].join("\n") };
  },
};

async function createRoot(context: Context, chain: Chain, wishes: Partial<MandateWishes> & Pick<MandateWishes, "delegate" | "token">): Promise<Lineage> {
  const { limit, validFor = "7d" } = wishes;
  if (limit === undefined) throw usageError("Say how much the agent may spend: --limit <usdc>.");
  const [account, at] = [await context.account(), await context.registryAt()];
  const epoch = await reading(() => epochOf(chain.client, at, account.address));
  return createMandate(account, at, { ...wishes, limit, validFor, epoch });
}

function wishesOf(values: Input["values"], token: Address): Partial<MandateWishes> & Pick<MandateWishes, "delegate" | "token"> {
  const text = (name: string) => (typeof values[name] === "string" ? (values[name] as string) : undefined);
  const money = (name: string) => (text(name) === undefined ? undefined : parseUsdc(text(name)!, `--${name}`));
  const payees = ((values["payee"] ?? []) as string[]).map((payee) => addressOf(payee, "--payee"));
  const given = {
    limit: money("limit"), periodLimit: money("per-period"), period: text("period"), paymentLimit: money("per-payment"), payees: payees.length === 0 ? undefined : payees,
    capability: text("capability"), validFor: text("valid-for"),
  };
  if (given.period !== undefined && given.periodLimit === undefined) throw usageError("--period goes with --per-period.");
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<MandateWishes>;
  return { ...set, delegate: addressOf(text("agent") ?? "", "--agent"), token };
}

function addressOf(text: string, name: string): Address {
  if (isAddress(text)) return getAddress(text);
  throw usageError(`${name} must be an address with a right checksum.`);
}

/** The account's own transactions. */
async function writerOf(context: Context, chain: Chain): Promise<ChainWriter> {
  const account = await context.account();
  return createWalletClient({ account, chain: chain.client.chain, transport: http(chain.rpcUrl) }) as unknown as ChainWriter;
}

export const mandateList: Command = {
  path: "mandate list",
  about: "List the mandates in the storage folder",
  positionals: [0, 0],
  needs: ["chain", "state", "guard"],
  options: {},
  examples: [{ about: "who may spend what?", line: "tallystick mandate list" }],
  async run(context) {
    const chain = await context.chain();
    const files = (await listMandates(context.settings.stateDir)).filter(({ at }) => at.chainId === chain.info.chainId);
    const views = await Promise.all(files.map((file) => viewMandate(context, chain, file)));
    const rows = views.map((view) => {
      const { mandate } = view.file.lineage[0];
      return [view.file.id.slice(0, 12), stateOf(view), usdc(mandate.limit), usdc(view.onChain.states[0]!.spent), view.guard === undefined ? "?" : usdc(view.guard.accounts[0]!.spent), mandate.delegate, utc(mandate.validUntil)];
    });
    return { json: { mandates: views.map(viewJson) }, text: rows.length === 0 ? "There are no mandates." : columns([["mandate", "state", "limit", "deposited", "signed", "agent", "until"], ...rows], { right: [2, 3, 4] }) };
  },
};

export const mandateShow: Command = {
  path: "mandate show",
  about: "Show a mandate, and the most that a stolen key can cost",
  args: "<mandate>",
  positionals: [1, 1],
  takesIds: true,
  details: `<mandate> is an id, the beginning of one, or a file. With the agent's key a thief can deposit and pay straight at the registry, up
to what the chain leaves of the mandate and of those above it, to their payees alone; and have the guard sign what it would sign for
the agent. With the voucher key too, all that is in the mandate's channels. What is signed already is spent, and not counted.`,
  needs: ["chain", "state", "guard"],
  options: {},
  examples: [{ about: "what if the agent's machine is broken into?", line: "tallystick mandate show 0x51fe" }],
  async run(context, { positionals: [name] }) {
    const chain = await context.chain();
    const view = await viewMandate(context, chain, await findMandate(context.settings.stateDir, name!));
    return { json: viewJson(view), text: viewText(view) };
  },
};

export const mandateTree: Command = {
  path: "mandate tree",
  about: "Show a mandate with those above and below it",
  args: "<mandate>",
  positionals: [1, 1],
  takesIds: true,
  details: "Those below it are found in the storage folder; a sub-mandate that its agent kept to itself shows once it is used.",
  needs: ["chain", "state", "guard"],
  options: {},
  examples: [{ about: "who else spends of it?", line: "tallystick mandate tree 0x51fe" }],
  async run(context, { positionals: [name] }) {
    const chain = await context.chain();
    const [file, known] = [await findMandate(context.settings.stateDir, name!), await listMandates(context.settings.stateDir)];
    const rootId = file.ids.at(-1)!;
    const family = [...new Map([...known, file].filter(({ ids }) => ids.at(-1) === rootId).map((member) => [member.id, member])).values()];
    const views = await Promise.all(inOrder(family).map((member) => viewMandate(context, chain, member)));
    return { json: { root: rootId, mandates: views.map(viewJson) }, text: columns(views.map((view) => treeRow(view, view.file.id === file.id))) };
  },
};

/** Each after the one above it. */
function inOrder(family: readonly MandateFile[]): MandateFile[] {
  const path = ({ ids }: MandateFile) => [...ids].reverse().join(" ");
  return [...family].sort((a, b) => (path(a) < path(b) ? -1 : 1));
}

function treeRow(view: MandateView, chosen: boolean): string[] {
  const { mandate } = view.file.lineage[0];
  const indent = "  ".repeat(view.file.ids.length - 1);
  return [`${chosen ? "*" : " "} ${indent}${view.file.id.slice(0, 12)}`, stateOf(view), `${usdc(view.onChain.states[0]!.spent)} of ${usdc(mandate.limit)} USDC deposited`, mandate.delegate];
}

export const mandateRevoke: Command = {
  path: "mandate revoke",
  about: "End a mandate and all below it, for ever, and bring back what its channels hold",
  args: "<mandate>",
  positionals: [1, 1],
  takesIds: true,
  details: `Sends the revocation from your key: the principal's, or that of the agent of the mandate above. Then starts the withdrawal of every
channel that its guard knows of, where you are the payer; tallystick withdraw finishes them after their delay. With --sign-only
nothing is sent: it prints a signature with which anybody may revoke it.`,
  needs: ["chain", "key", "state", "guard"],
  options: { "sign-only": { type: "boolean", about: "print the signed revocation instead of sending it" } },
  examples: [{ about: "stop it", line: "tallystick mandate revoke 0x51fe" }],
  async run(context, { values, positionals: [name] }) {
    const [chain, account] = [await context.chain(), await context.account()];
    const file = await findMandate(context.settings.stateDir, name!);
    if (values["sign-only"] === true) {
      const signature = await signRevocation(account, file.at, file.lineage);
      return { json: { mandateId: file.id, revoker: account.address, signature }, text: columns([["mandate", file.id], ["revoker", account.address], ["signature", signature]]) };
    }
    const reader = openReader(chain.rpcUrl);
    const writer = await writerOf(context, chain);
    const transaction = await reading(() => revokeMandate(writer, reader, file.at, file.lineage)).catch(notAllowed);
    const withdrawals = await startWithdrawals(context, chain, writer, file);
    const said = withdrawals.map(({ channelId, amountAtomic }) => [`  ${channelId}`, `${usdc(BigInt(amountAtomic))} USDC on its way back`]);
    return { json: { mandateId: file.id, transaction, withdrawals }, text: [columns([["revoked", file.id], ["transaction", transaction]]), ...(said.length === 0 ? [] : [columns(said)])].join("\n") };
  },
};

function notAllowed(error: unknown): never {
  if (!(error instanceof TallystickError) || error.code === "contract_refused") throw new CliError({ code: "revoke_refused", detail: "The registry refuses: only the principal and the agent of the mandate above may revoke it.", cause: error });
  throw error;
}

/** What is left in the channels of this payer, by what the guard has signed on. */
async function startWithdrawals(context: Context, chain: Chain, writer: ChainWriter, file: MandateFile): Promise<{ channelId: string; amountAtomic: string; transaction: string }[]> {
  const { channels } = (await viewMandate(context, chain, file)).guard ?? { channels: [] };
  const started: { channelId: string; amountAtomic: string; transaction: string }[] = [];
  for (const { channelId, config } of channels) {
    const state = await readState(chain, { id: channelId, config });
    if (getAddress(config.payer) !== writer.account.address || state.available === 0n || state.withdrawal !== undefined) continue;
    const transaction = await sendWithdrawal(openReader(chain.rpcUrl), writer, chain.contract, "initiateWithdraw", config, state.available);
    started.push({ channelId, amountAtomic: String(state.available), transaction });
  }
  return started;
}
