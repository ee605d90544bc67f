// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {BazaarDigests} from "./BazaarDigests.sol";
import {ScriptedIdentities, ScriptedJobs, ScriptedReputation} from "./BazaarActors.sol";
import {ChannelsApi} from "./ChannelsApi.sol";
import {PullCollector} from "./Collectors.sol";
import {Digests} from "./Digests.sol";
import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {TestBase} from "./TestBase.sol";
import {ScriptedToken} from "./Tokens.sol";
import {ScriptedWallet} from "./Wallets.sol";

/// @notice The registry as tests call it.
interface BazaarApi is IBazaarRegistry {
    function multicall(bytes[] calldata data) external returns (bytes[] memory results);
}

/// @notice An open and a curated bazaar over one real channel contract, providers (a key, a wallet, an identity), payers, and
/// real payments: deposits and claims of vouchers.
abstract contract BazaarWorld is TestBase {
    uint256 internal constant OWNER_KEY = 0xA11CE;
    uint256 internal constant WALLET_KEY = 0xA22CE;
    uint256 internal constant AGENT_OWNER_KEY = 0xA33CE;
    uint256 internal constant PAYER_KEY = 0xB0B;
    uint256 internal constant OTHER_PAYER_KEY = 0xB0C;
    uint256 internal constant THIEF_KEY = 0xBAD;
    uint40 internal constant START = 1_800_000_000;
    uint256 internal constant FOREVER = type(uint256).max;
    uint128 internal constant FACILITATOR_BOND = 1_000;
    /// agentId of the identity that sells: the first one there is.
    uint256 internal constant AGENT_ID = 0;

    BazaarApi internal bazaar;
    BazaarApi internal curated;
    ChannelsApi internal channels;
    PullCollector internal collector;
    ScriptedIdentities internal identities;
    ScriptedReputation internal reputation;
    ScriptedJobs internal jobs;
    ScriptedToken internal token;
    ScriptedToken internal bondToken;
    ScriptedWallet internal ownerWallet;
    address internal owner;
    address internal agentOwner;
    address internal payer;
    address internal otherPayer;
    address internal thief;
    address internal curator = address(0xC0C0);
    address internal payTo = address(0xFA9);

    function buildBazaar() internal {
        vm.warp(START);
        (owner, agentOwner) = (vm.addr(OWNER_KEY), vm.addr(AGENT_OWNER_KEY));
        (payer, otherPayer, thief) = (vm.addr(PAYER_KEY), vm.addr(OTHER_PAYER_KEY), vm.addr(THIEF_KEY));
        (token, bondToken) = (new ScriptedToken(), new ScriptedToken());
        (identities, reputation, jobs) = (new ScriptedIdentities(), new ScriptedReputation(), new ScriptedJobs());
        collector = new PullCollector();
        ownerWallet = new ScriptedWallet(vm.addr(WALLET_KEY));
        channels = ChannelsApi(deploy("SessionChannels.sol:SessionChannels", ""));
        bazaar = deployBazaar(address(0));
        curated = deployBazaar(curator);
        identities.setOwner(AGENT_ID, agentOwner);
        address[6] memory people = [owner, agentOwner, payer, otherPayer, thief, address(ownerWallet)];
        for (uint256 i = 0; i < people.length; i++) {
            _fund(people[i]);
        }
    }

    function deployBazaar(address curator_) internal returns (BazaarApi) {
        bytes memory read = abi.encode(identities, reputation, channels, channels);
        bytes memory args = bytes.concat(read, abi.encode(jobs, curator_, bondToken, FACILITATOR_BOND));
        return BazaarApi(deploy("BazaarRegistry.sol:BazaarRegistry", args));
    }

    function _fund(address who) private {
        token.mint(who, type(uint128).max);
        bondToken.mint(who, 1e12);
        vm.startPrank(who);
        token.approve(address(collector), type(uint256).max);
        bondToken.approve(address(bazaar), type(uint256).max);
        bondToken.approve(address(curated), type(uint256).max);
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ services

    /// @notice The key of a service owned by the plain owner.
    function keyOf(uint256 salt) internal view returns (IBazaarRegistry.ServiceKey memory) {
        return IBazaarRegistry.ServiceKey(0, owner, bytes32(salt));
    }

    /// @notice The key of a service owned by the identity.
    function agentKeyOf(uint256 salt) internal pure returns (IBazaarRegistry.ServiceKey memory) {
        return IBazaarRegistry.ServiceKey(AGENT_ID + 1, address(0), bytes32(salt));
    }

    function idOf(IBazaarRegistry.ServiceKey memory key) internal view returns (bytes32) {
        return BazaarDigests.serviceId(address(bazaar), key);
    }

    function terms() internal view returns (IBazaarRegistry.Terms memory t) {
        (t.payTo, t.token) = (payTo, address(token));
        t.offer = IBazaarRegistry.Offer({
            capability: "web.search",
            categories: 5,
            price: 1_000,
            schemes: 3,
            visibility: IBazaarRegistry.Visibility.Public,
            contentHash: keccak256("metadata"),
            uri: "https://provider.example/metadata.json"
        });
    }

    function termsAt(uint128 price) internal view returns (IBazaarRegistry.Terms memory t) {
        t = terms();
        t.offer.price = price;
    }

    function refOf(IBazaarRegistry.Terms memory t) internal pure returns (IBazaarRegistry.TermsRef memory) {
        return IBazaarRegistry.TermsRef(t.payTo, t.token, BazaarDigests.offerHash(t.offer));
    }

    function offerHash() internal view returns (bytes32) {
        return BazaarDigests.offerHash(terms().offer);
    }

    function bySender() internal pure returns (IBazaarRegistry.Consent memory) {
        return IBazaarRegistry.Consent(0, "");
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (IBazaarRegistry.Consent memory) {
        return IBazaarRegistry.Consent(FOREVER, signature(key, digest));
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice Lists the owner's service, live, in the open bazaar.
    function listed(uint256 salt) internal returns (IBazaarRegistry.ServiceKey memory key, bytes32 id) {
        key = keyOf(salt);
        vm.prank(owner);
        id = bazaar.list(key, terms(), true, bySender());
    }

    function agentListed(uint256 salt) internal returns (IBazaarRegistry.ServiceKey memory key, bytes32 id) {
        key = agentKeyOf(salt);
        vm.prank(agentOwner);
        id = bazaar.list(key, terms(), true, bySender());
    }

    // ------------------------------------------------------------------ payments

    /// @notice A channel to payTo; the receiver authorises its own claims.
    function channelOf(uint256 payerKey, address receiver, uint256 salt)
        internal
        view
        returns (ISessionChannels.ChannelConfig memory c)
    {
        (c.payer, c.payerAuthorizer) = (vm.addr(payerKey), vm.addr(payerKey));
        (c.receiver, c.receiverAuthorizer) = (receiver, receiver);
        (c.token, c.withdrawDelay, c.salt) = (address(token), 15 minutes, bytes32(salt));
    }

    /// @notice Deposits and claims, so that the channel's claims stand at `total`. `payerKey` is the voucher key's.
    function pay(ISessionChannels.ChannelConfig memory c, uint256 payerKey, uint128 total) internal returns (bytes32 id) {
        id = Digests.channelId(address(channels), c);
        (uint128 balance,) = channels.channels(id);
        if (total > balance) channels.deposit(c, total - balance, address(collector), "");
        ISessionChannels.VoucherClaim[] memory claims = new ISessionChannels.VoucherClaim[](1);
        claims[0].voucher = ISessionChannels.Voucher(c, total);
        claims[0].totalClaimed = total;
        claims[0].signature = signature(payerKey, Digests.voucher(address(channels), id, total));
        vm.prank(c.receiver);
        channels.claim(claims);
    }

    function paid(uint256 payerKey, uint256 salt, uint128 total)
        internal
        returns (IBazaarRegistry.ChannelPayment memory)
    {
        ISessionChannels.ChannelConfig memory c = channelOf(payerKey, payTo, salt);
        pay(c, payerKey, total);
        return IBazaarRegistry.ChannelPayment(address(channels), c, total);
    }

    function opinion(uint8 score) internal pure returns (IBazaarRegistry.Opinion memory) {
        return IBazaarRegistry.Opinion(score, keccak256("why"), false, 0, "");
    }

    function sourceOf(IBazaarRegistry.ChannelPayment memory payment) internal view returns (bytes32) {
        return Digests.channelId(payment.channels, payment.config);
    }
}
