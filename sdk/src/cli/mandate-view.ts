// A mandate as the chain and its guard see it now, in words and as JSON.
import type { Address, Hex } from "viem";
import { readChannel } from "../agent/chain.ts";
import { exposureOf, type Exposure } from "../guard/exposure.ts";
import type { MandateAccount } from "../guard/logic.ts";
import { toWireMandate } from "../lineage.ts";
import { readLineage, type LineageOnChain } from "../registry.ts";
import type { ChannelConfig } from "../typed-data.ts";
import type { Chain } from "./chain.ts";
import { reading } from "./chain.ts";
import type { Context } from "./context.ts";
import type { MandateFile } from "./mandate-files.ts";
import { usdc } from "./money.ts";
import { columns, span, utc } from "./output.ts";

export type GuardView = { authorizer: Address; accounts: MandateAccount[]; channels: { channelId: Hex; config: ChannelConfig; highest: bigint }[]; room: bigint };
export type MandateView = { file: MandateFile; onChain: LineageOnChain; guard: GuardView | undefined; unsigned: bigint; exposure: Exposure };

type Wire = { authorizer: Address; roomAtomic: string; accounts: { spentAtomic: string; period: number; periodSpentAtomic: string }[]; channels: { channelId: Hex; config: ChannelConfig; highestAtomic: string }[] };

const GUARD_TIMEOUT_MS = 5_000;

/** What the guard has counted; undefined when none answers or it has not seen the mandate. */
export async function askGuard(context: Context, id: Hex): Promise<GuardView | undefined> {
  const response = await fetch(`${context.settings.guardUrl}/guard/v1/mandates/${id}`, { signal: AbortSignal.any([context.signal, AbortSignal.timeout(GUARD_TIMEOUT_MS)]) }).catch(() => undefined);
  if (response?.ok !== true) return undefined;
  const { authorizer, roomAtomic, accounts, channels } = (await response.json()) as Wire;
  return {
    authorizer, room: BigInt(roomAtomic),
    accounts: accounts.map(({ spentAtomic, period, periodSpentAtomic }) => ({ spent: BigInt(spentAtomic), period, periodSpent: BigInt(periodSpentAtomic) })),
    channels: channels.map(({ channelId, config, highestAtomic }) => ({ channelId, config, highest: BigInt(highestAtomic) })),
  };
}

export async function viewMandate(context: Context, chain: Chain, file: MandateFile): Promise<MandateView> {
  const { lineage, ids, at } = file;
  const [onChain, guard] = await Promise.all([reading(() => readLineage(chain.client, at.registry, lineage, ids)), askGuard(context, file.id)]);
  const held = await reading(() => Promise.all((guard?.channels ?? []).map(async ({ channelId, highest }) => unsignedPart((await readChannel(chain.client, chain.contract, channelId)).balance, highest))));
  const unsigned = held.reduce((sum, part) => sum + part, 0n);
  const exposure = exposureOf({ lineage, onChain: onChain.states, epoch: onChain.epoch, guard: guard?.accounts, unsigned, nowS: onChain.nowS });
  return { file, onChain, guard, unsigned, exposure };
}

const unsignedPart = (balance: bigint, highest: bigint): bigint => (balance > highest ? balance - highest : 0n);

export function stateOf({ file, onChain }: Pick<MandateView, "file" | "onChain">): string {
  if (onChain.states.some(({ revoked }) => revoked)) return "revoked";
  if (onChain.epoch !== file.lineage[0].mandate.epoch) return "revoked";
  if (onChain.nowS > Math.min(...file.lineage.map(({ mandate }) => mandate.validUntil))) return "expired";
  return onChain.nowS < Math.max(...file.lineage.map(({ mandate }) => mandate.validAfter)) ? "not yet valid" : "valid";
}

export function viewJson(view: MandateView): Record<string, unknown> {
  const { file, onChain, guard, exposure } = view;
  const { mandate, payees } = file.lineage[0];
  return {
    mandateId: file.id, state: stateOf(view), chainId: file.at.chainId, registry: file.at.registry, mandate: toWireMandate(mandate), ...(payees === undefined ? {} : { payees }), depth: file.ids.length - 1, ancestors: file.ids.slice(1),
    onChain: { approved: onChain.states[0]!.approved, spentAtomic: String(onChain.states[0]!.spent) },
    guard: guard === undefined ? null : { authorizer: guard.authorizer, spentAtomic: String(guard.accounts[0]!.spent), roomAtomic: String(guard.room), channels: guard.channels.map(({ channelId, highest }) => ({ channelId, signedAtomic: String(highest) })) },
    exposure: {
      agentKeyAtomic: String(exposure.agentKey), agentKeyADayAtomic: String(exposure.agentKeyADay), withVoucherKeyAtomic: String(exposure.withVoucherKey), withVoucherKeyADayAtomic: String(exposure.withVoucherKeyADay),
      payees: exposure.payees ?? "any",
    },
  };
}

export function viewText(view: MandateView): string {
  const { file, onChain, guard, exposure } = view;
  const { mandate, payees } = file.lineage[0];
  const who = exposure.payees === undefined ? "to anybody" : exposure.payees.length === 0 ? "to nobody: no payee is allowed by all" : `to ${exposure.payees.length === 1 ? exposure.payees[0] : `the ${exposure.payees.length} payees alone`}`;
  const rows: [string, string][] = [
    ["mandate", `${file.id}  ${stateOf(view)}`],
    ["principal", mandate.principal], ["agent", mandate.delegate],
    ["limit", `${usdc(mandate.limit)} USDC in all, ${usdc(mandate.paymentLimit)} a payment${mandate.period === 0 ? "" : `, ${usdc(mandate.periodLimit)} every ${span(mandate.period)}`}`],
    ["payees", payees === undefined ? "any" : payees.join(", ")],
    ["valid", `until ${utc(mandate.validUntil)}`],
    ...(file.ids.length === 1 ? [] : [["below", file.ids.slice(1).join(", ")] as [string, string]]),
    ["deposited", `${usdc(onChain.states[0]!.spent)} USDC (on chain)`],
    ["signed", guard === undefined ? `unknown: no guard that knows it answers` : `${usdc(guard.accounts[0]!.spent)} USDC (guard)`],
  ];
  return [
    columns(rows), "",
    "The most that can be lost:",
    columns([
      ["  the agent's key stolen", `${usdc(exposure.agentKey)} USDC, ${usdc(exposure.agentKeyADay)} within a day`, who],
      ["  the voucher key too", `${usdc(exposure.withVoucherKey)} USDC, ${usdc(exposure.withVoucherKeyADay)} within a day`, who],
    ]),
    "  tallystick mandate revoke ends both.",
  ].join("\n");
}
