// What a transfer has to be, decided from logs alone: several that would do, and those that a signed authorisation made.
import { expect } from "chai";
import { encodeAbiParameters, pad, toEventSelector, type Hex } from "viem";
import { checkUnspent, confirmationsFor, pickTransfer, transferKey } from "../../relayer/src/capabilities/transfers/logic.ts";
import type { Mined } from "../../relayer/src/capabilities/transfers/types.ts";
import { TallystickError } from "../../sdk/src/errors.ts";
import { testConfig } from "../support/config.ts";

const address = (digit: string): Hex => `0x${digit.repeat(40)}`;
const [token, other, payer, receiver, sessionChannels] = ["1", "2", "3", "4", "5"].map(address) as [Hex, Hex, Hex, Hex, Hex];
const wanted = { price: 10n, receiver, token };
const transfer = (value: bigint, logIndex: number, change: { token?: Hex; from?: Hex } = {}): Mined["logs"][number] => ({
  address: change.token ?? token, logIndex, data: encodeAbiParameters([{ type: "uint256" }], [value]),
  topics: [toEventSelector("Transfer(address,address,uint256)"), pad(change.from ?? payer), pad(receiver)],
});
const mined = (...logs: Mined["logs"]): Mined => ({ success: true, blockNumber: 1n, blockHash: pad("0x1"), logs });
function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as TallystickError).code;
  }
  return "nothing thrown";
}

describe("transfers: logic", () => {
  it("asks which of several transfers is meant, and counts each by its place in the transaction", () => {
    const two = mined(transfer(10n, 40), transfer(7n, 41), transfer(10n, 42));
    expect(codeOf(() => pickTransfer(two, wanted, undefined))).to.equal("log_index_needed");
    expect(pickTransfer(two, wanted, 42)).to.include({ position: 2, logIndex: 42, value: 10n });
    expect(codeOf(() => pickTransfer(two, wanted, 41))).to.equal("amount_mismatch");
    expect(codeOf(() => pickTransfer(two, wanted, 43))).to.equal("transfer_missing");
    expect(transferKey(1, pad("0x1"), 0)).not.to.equal(transferKey(1, pad("0x1"), 2));
    expect(transferKey(1, pad("0x1"), 0)).not.to.equal(transferKey(2, pad("0x1"), 0));
  });

  it("a failed transaction and another token pay nothing", () => {
    expect(codeOf(() => pickTransfer({ ...mined(transfer(10n, 0)), success: false }, wanted, undefined))).to.equal("transaction_reverted");
    expect(codeOf(() => pickTransfer(mined(transfer(10n, 0, { token: other })), wanted, undefined))).to.equal("token_mismatch");
  });

  it("what a signed authorisation or SessionChannels moved is the payment for something else", () => {
    const used = { address: token, logIndex: 0, data: "0x" as Hex, topics: [toEventSelector("AuthorizationUsed(address,bytes32)"), pad(payer), pad("0x9")] as Hex[] };
    const unspent = (...logs: Mined["logs"]) => codeOf(() => checkUnspent(mined(...logs), pickTransfer(mined(...logs), wanted, undefined), sessionChannels));
    expect(unspent(used, transfer(10n, 1))).to.equal("authorization_transfer");
    expect(unspent(transfer(10n, 1, { from: sessionChannels }))).to.equal("payout_not_payment");
    expect(unspent({ ...used, topics: [used.topics[0]!, pad(other), pad("0x9")] }, transfer(10n, 1))).to.equal("nothing thrown");
  });

  it("needs the depth of the highest step that the amount reaches", () => {
    const steps = [{ fromAtomic: 0n, depth: 1 }, { fromAtomic: 100n, depth: 3 }];
    expect([0n, 99n, 100n, 1_000n].map((amount) => confirmationsFor(steps, amount))).to.deep.equal([1, 1, 3, 3]);
    const configured = (text: string) => testConfig("postgres://localhost/x", "http://localhost", [], { RELAYER_TRANSFER_CONFIRMATIONS: text }).transferConfirmations;
    expect(configured("0:1, 100:3")).to.deep.equal(steps);
    for (const wrong of ["", "5:1", "0:0", "0:1,0:2", "0:3,100:1", "0:1;5:2"]) expect(codeOf(() => configured(wrong)), wrong).to.equal("config_invalid");
  });
});
