// A deposit that an agent makes with its principal's money: pulled by the registry from the allowance that the principal gave it, within
// the mandate and all its ancestors. The agent's own key signs it; the channel can only be the principal's.
import { type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import type { GuardClient } from "../guard/client.ts";
import { idsOf } from "../lineage.ts";
import { mandateRegistryDomain } from "../mandate.ts";
import { mandateDepositData, mandateDepositTypes, spendOrder } from "../mandate-messages.ts";
import { payeeProof } from "../payees.ts";
import { freeNonce, readLineage } from "../registry.ts";
import { accountAt, roomOf } from "../guard/logic.ts";
import type { ChainReader } from "./chain.ts";
import type { Signer } from "./payments.ts";
import type { Purse } from "./purse.ts";

/** How long a deposit's signature stands, seconds. */
const DEPOSIT_TTL_S = 600;

/** @throws TallystickError `mandate_exhausted` when the registry would let too little go for this call. */
export function mandateDeposits(account: Signer, guard: GuardClient, reader: ChainReader): Purse["deposit"] {
  return async ({ chainId }, { channelId, config, balance }, wanted, ceiling) => {
    const { lineage, registry } = guard;
    const domain = mandateRegistryDomain(chainId, registry);
    const ids = idsOf(domain, lineage);
    const { states, nowS } = await readLineage(reader, registry, lineage, ids);
    const rooms = lineage.map(({ mandate }, level) => {
      const { spent, periodIndex: period, periodSpent } = states[level]!;
      const room = roomOf(mandate, accountAt(mandate, { spent, period, periodSpent }, nowS), nowS);
      return room < mandate.paymentLimit ? room : mandate.paymentLimit;
    });
    const amount = [wanted, ...rooms].reduce((a, b) => (a < b ? a : b));
    if (amount === 0n && ceiling <= balance) return undefined;
    if (amount === 0n || ceiling > balance + amount) {
      throw new TallystickError({
        code: "mandate_exhausted", status: 403, retry: "never", field: "deposit",
        detail: `The call needs ${ceiling - balance} atomic units more in the channel; the mandate lets ${amount} go now.`,
        extra: { decision: "REJECTED", rule: "mandate.onChain", proof: { money_never_moved: true, amountAtomic: "0" }, roomAtomic: String(amount) },
      });
    }
    const order = spendOrder({
      lineage: lineage.map(({ mandate }) => mandate), payee: config.receiver, amount,
      proofs: lineage.map(({ payees }): Hex[] => (payees === undefined ? [] : payeeProof(payees, config.receiver))),
      approvals: lineage.map(({ signature }, level) => (states[level]!.approved ? "0x" : signature)),
    });
    const [nonce, deadline] = [await freeNonce(reader, registry, ids[0]!), BigInt(nowS + DEPOSIT_TTL_S)];
    const message = { mandateId: ids[0]!, channelId, amount, nonce, deadline };
    const signature = await account.signTypedData({ domain, types: mandateDepositTypes, primaryType: "MandateDeposit", message });
    const data = mandateDepositData(config, { order, nonce, deadline, signature });
    return { amount: amount.toString(), authorization: { mandateDeposit: { data } }, collector: registry };
  };
}
