// What an agent keeps in memory and in its storage: the channels, the terms of each scope, the spend record.
import type { Address, Hex } from "viem";
import { isAddressEqual } from "viem";
import { TallystickError } from "../errors.ts";
import type { ChannelConfig } from "../typed-data.ts";
import { ChannelBook } from "./channel.ts";
import { Budget, type Limits } from "./limits.ts";
import { Session } from "./session.ts";
import { decodeRecord, encodeRecord, type AgentStorage } from "./storage.ts";
import type { Terms } from "./terms.ts";

export class AgentState {
  readonly budget: Budget;
  readonly sessions = new Map<Hex, Session>();
  readonly #contract: Address;
  readonly #storage: AgentStorage;
  readonly #terms = new Map<string, Terms[]>();
  readonly #pins = new Map<string, { payTo: Address; token: Address; chainId: number }>();
  #saving: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  readonly #onError: (error: unknown) => void;

  private constructor(storage: AgentStorage, contract: Address, budget: Budget, onError: (error: unknown) => void) {
    this.#storage = storage;
    this.#onError = onError;
    this.#contract = contract;
    this.budget = budget;
  }

  static async load(storage: AgentStorage, contract: Address, limits: Limits, onError: (error: unknown) => void): Promise<AgentState> {
    const record = decodeRecord(await storage.load());
    const state = new AgentState(storage, contract, new Budget(limits, record.spent), onError);
    for (const channel of record.channels) {
      if (!isAddressEqual(channel.contract, contract)) continue;
      const session = new Session(new ChannelBook(channel), channel.origin, channel.scope, channel.chainId);
      state.sessions.set(channel.channelId, session);
      state.#pins.set(pinKey(channel.origin, channel.scope), { payTo: channel.config.receiver, token: channel.config.token, chainId: channel.chainId });
    }
    return state;
  }

  /** Terms known for a URL: of the longest scope that holds for it. */
  termsFor(url: URL): Terms | undefined {
    const known = (this.#terms.get(url.origin) ?? []).filter(({ scope, tallystick }) => (tallystick ? holds(scope, url.pathname) : scope === url.pathname));
    return known.reduce<Terms | undefined>((best, terms) => (best === undefined || terms.scope.length > best.scope.length ? terms : best), undefined);
  }

  /** @throws TallystickError `terms_changed`: the seller of this scope used to be paid elsewhere, or in another token. */
  learn(origin: string, terms: Terms, allowChange: boolean): void {
    const key = pinKey(origin, terms.scope);
    const pinned = this.#pins.get(key);
    if (pinned !== undefined && !allowChange) {
      for (const [field, was, is] of [["payTo", pinned.payTo, terms.payTo], ["asset", pinned.token, terms.token.address], ["network", pinned.chainId, terms.chainId]] as const) {
        if (was === is) continue;
        throw new TallystickError({ code: "terms_changed", status: 502, retry: "never", field: `accepts.${field}`, detail: `${origin}${terms.scope} was paid to ${field} ${was} before and now asks for ${is}.` });
      }
    }
    this.#pins.set(key, { payTo: terms.payTo, token: terms.token.address, chainId: terms.chainId });
    this.#terms.set(origin, [...(this.#terms.get(origin) ?? []).filter(({ scope }) => scope !== terms.scope), terms]);
  }

  /** The channel to a seller that its terms still fit, if any. All its paths share it. */
  sessionOf(origin: string, terms: Terms, payer: Address, authorizer: Address): Session | undefined {
    const ours = ({ book: { config } }: Session) => isAddressEqual(config.payer, payer) && isAddressEqual(config.payerAuthorizer, authorizer) && fits(config, terms);
    return [...this.sessions.values()].find((session) => session.origin === origin && session.chainId === terms.chainId && ours(session));
  }

  add(session: Session): void {
    this.sessions.set(session.book.channelId, session);
  }

  /** Returns when what is known now is in the storage. Calls that come together share one write. */
  save(): Promise<void> {
    if (this.#saving === undefined) return this.#write();
    this.#next ??= this.#saving.catch(() => {}).then(() => {
      this.#next = undefined;
      return this.#write();
    });
    return this.#next;
  }

  /** For what is only a cache of the seller's word: nothing waits for it, and the next save carries it too. */
  saveSoon(): void {
    this.save().catch(this.#onError);
  }

  #write(): Promise<void> {
    this.#saving = this.#storage.save(encodeRecord(this.#record())).finally(() => void (this.#saving = undefined));
    return this.#saving;
  }

  #record() {
    const channels = [...this.sessions.values()].map(({ book, origin, scope, chainId }) => ({
      channelId: book.channelId, chainId, contract: this.#contract, config: book.config, origin, scope, signed: book.signed, charged: book.charged, balance: book.balance,
    }));
    return { version: 1 as const, channels, spent: this.budget.record };
  }
}

/** A retired receiverAuthorizer stays good for channels opened under it, so it is not compared. */
function fits(config: ChannelConfig, terms: Terms): boolean {
  return isAddressEqual(config.receiver, terms.payTo) && isAddressEqual(config.token, terms.token.address) && config.withdrawDelay === terms.withdrawDelayS;
}

const pinKey = (origin: string, scope: string): string => `${origin} ${scope}`;

function holds(scope: string, path: string): boolean {
  return path === scope || path.startsWith(scope.endsWith("/") ? scope : `${scope}/`);
}
