// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelsApi} from "./test-support/ChannelsApi.sol";
import {Digests} from "./test-support/Digests.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {Vm} from "./test-support/Vm.sol";
import {ScriptedWallet} from "./test-support/Wallets.sol";
import {World} from "./test-support/World.sol";

/// @notice A relayer chooses how much gas a call gets; it must not choose its outcome. Whatever the gas, a call either
/// reverts as a whole or does and reports exactly what it does with plenty.
contract SessionChannelsGasTest is World {
    uint256 private constant PLENTY = 12_000_000;
    uint128 private constant BALANCE = 1e12;

    ChannelsApi private channels;
    bytes32 private expectedState;
    bytes32 private expectedLogs;
    uint256 private needed;

    function setUp() public {
        buildWorld();
        channels = deployChannels();
        for (uint256 i = 0; i < CHANNELS; i++) {
            depositTo(channels, i, BALANCE);
        }
    }

    // ------------------------------------------------------------------ claimPacked

    function test_claimPackedAtAnyGas() public {
        (address sender, bytes memory data) = _packedCall();
        _sweep(sender, data, 151);
    }

    function testFuzz_claimPackedAtAnyGas(uint256 gasLimit) public {
        (address sender, bytes memory data) = _packedCall();
        _measure(sender, data);
        this.tryAt(sender, data, bound(gasLimit, 1, needed + 20_000));
    }

    /// @dev Every status there is, in two groups, with every signature check last in its group once.
    function _packedCall() private view returns (address sender, bytes memory data) {
        ISessionChannels.PackedGroup[] memory groups = new ISessionChannels.PackedGroup[](3);
        groups[0] = groupOf(
            0,
            bytes.concat(
                packedRow(channels, Row(KIND_OWN_KEY, 10, 10, Forgery.None), 0),
                packedRow(channels, Row(KIND_SALT, 10, 11, Forgery.None), 0),
                packedRow(channels, Row(KIND_SEPARATE_KEY, 1e18, 1e18, Forgery.None), 0),
                packedRow(channels, Row(KIND_OWN_KEY, 12, 9, Forgery.None), 0),
                packedRow(channels, Row(KIND_WALLET, 10, 10, Forgery.None), 0),
                packedRow(channels, Row(KIND_OTHER_PAYER, 10, 10, Forgery.Thief), 0)
            ),
            0
        );
        groups[1] = groupOf(
            1,
            bytes.concat(
                packedRow(channels, Row(KINDS + KIND_OTHER_PAYER, 10, 10, Forgery.FlippedBit), 0),
                packedRow(channels, Row(KINDS + KIND_OWN_KEY, type(uint128).max, 10, Forgery.None), 0)
            ),
            bytes32(uint256(1))
        );
        // The last thing of the call is a signature check.
        groups[2] = groupOf(0, packedRow(channels, Row(KIND_OTHER_PAYER, 10, 10, Forgery.None), 0), 0);
        authorize(channels, 1, groups[1]);
        return (vm.addr(RECEIVER_KEY), abi.encodeCall(channels.claimPacked, (groups)));
    }

    /// @notice The same when the receiverAuthorizer is a wallet that answers by the gas it has: a refusal reverts.
    function test_claimPackedForAWalletAtAnyGas() public {
        claimWallet.setMode(ScriptedWallet.Mode.NeedsGas, 60_000);
        ISessionChannels.PackedGroup memory group =
            groupOf(3, packedRow(channels, Row(3 * KINDS, 10, 10, Forgery.None), 0), 0);
        authorize(channels, 3, group);
        _sweep(thief, abi.encodeCall(channels.claimPacked, (one(group))), 151);
    }

    // ------------------------------------------------------------------ claimAndSettle

    function test_claimAndSettleAtAnyGas() public {
        _sweepSettlement(401);
    }

    function test_claimAndSettleOfARefusingTokenAtAnyGas() public {
        honest.setBlacklisted(vm.addr(RECEIVER_KEY));
        _sweepSettlement(401);
    }

    function test_claimAndSettleOfABurningTokenAtAnyGas() public {
        honest.setMode(ScriptedToken.Mode.BurnsGas);
        _sweepSettlement(701);
    }

    function test_claimAndSettleOfAReturnBombAtAnyGas() public {
        honest.setMode(ScriptedToken.Mode.ReturnBomb);
        _sweepSettlement(701);
    }

    /// @notice Tokens that need much gas: below, at and above what the contract is ready to give.
    function test_claimAndSettleOfHeavyTokensAtAnyGas() public {
        uint256[5] memory weights = [uint256(50_000), 150_000, 220_000, 260_000, 400_000];
        for (uint256 i = 0; i < weights.length; i++) {
            uint256 start = vm.snapshotState();
            honest.setWeight(weights[i]);
            _sweepSettlement(2003);
            vm.revertToState(start);
        }
    }

    function testFuzz_claimAndSettleOfAHeavyTokenAtAnyGas(uint256 weight, uint256 gasLimit) public {
        honest.setWeight(bound(weight, 0, 320_000));
        (address sender, bytes memory data) = _settlementCall();
        _measure(sender, data);
        this.tryAt(sender, data, bound(gasLimit, needed > 300_000 ? needed - 300_000 : 1, needed + 20_000));
    }

    function _sweepSettlement(uint256 step) private {
        (address sender, bytes memory data) = _settlementCall();
        _sweep(sender, data, step);
    }

    /// @dev Two receivers and two tokens. The scripted token comes last: only there is the 1/64 of gas that a starved
    /// transfer leaves enough to finish the call with a wrong report.
    function _settlementCall() private view returns (address, bytes memory) {
        Row[] memory rows = new Row[](3);
        rows[0] = Row(2 * KINDS, 10, 10, Forgery.None);
        rows[1] = Row(1 * KINDS, 10, 10, Forgery.None);
        rows[2] = Row(1 * KINDS + KIND_ZERO_AUTHORIZER, 12, 12, Forgery.None);
        return (vm.addr(CLAIM_KEY), abi.encodeCall(channels.claimAndSettle, (plainRows(channels, rows), "")));
    }

    // ------------------------------------------------------------------ other verbs

    /// @notice A payer's wallet that answers by its gas can only be starved into a revert.
    function test_claimOfAWalletAtAnyGas() public {
        payerWallet.setMode(ScriptedWallet.Mode.NeedsGas, 60_000);
        Row[] memory rows = new Row[](2);
        rows[0] = Row(KIND_WALLET, 10, 10, Forgery.None);
        rows[1] = Row(KIND_OWN_KEY, 10, 10, Forgery.None);
        _sweep(vm.addr(RECEIVER_KEY), abi.encodeCall(channels.claim, (plainRows(channels, rows))), 151);
    }

    function test_refundWithSignatureAtAnyGas() public {
        uint256 channel = 3 * KINDS;
        claimWallet.setMode(ScriptedWallet.Mode.NeedsGas, 60_000);
        bytes memory sig =
            signature(CLAIM_WALLET_KEY, Digests.refund(address(channels), idOf(channels, channel), 0, 5));
        _sweep(thief, abi.encodeCall(channels.refundWithSignature, (configOf(channel), 5, 0, sig)), 151);
    }

    function test_settleAtAnyGas() public {
        (address sender, bytes memory data) = _packedCall();
        vm.prank(sender);
        (bool ok,) = address(channels).call(data);
        vm.assertTrue(ok, "claims");
        honest.setWeight(100_000);
        _sweep(thief, abi.encodeCall(channels.settle, (sender, address(honest))), 151);
    }

    // ------------------------------------------------------------------ inside

    /// @notice What the call does with plenty of gas, and how much it must be given for that.
    function _measure(address sender, bytes memory data) private {
        uint256 start = vm.snapshotState();
        (bool ok, bytes32 state, bytes32 logs) = _run(sender, data, PLENTY);
        vm.assertTrue(ok, "fails with plenty of gas");
        vm.revertToState(start);
        (expectedState, expectedLogs) = (state, logs);
        // The least gas with which it goes through, by bisection.
        (uint256 low, uint256 high) = (0, PLENTY);
        while (high - low > 16) {
            uint256 middle = (low + high) / 2;
            start = vm.snapshotState();
            (ok,,) = _run(sender, data, middle);
            vm.revertToState(start);
            if (ok) high = middle;
            else low = middle;
        }
        needed = high;
    }

    function _sweep(address sender, bytes memory data, uint256 step) private {
        _measure(sender, data);
        uint256 refused;
        for (uint256 gasLimit = 20_000; gasLimit < needed + 10 * step; gasLimit += step) {
            if (!this.tryAt(sender, data, gasLimit)) refused++;
        }
        for (uint256 gasLimit = needed - 200; gasLimit < needed + 40; gasLimit += 7) {
            this.tryAt(sender, data, gasLimit);
        }
        vm.assertTrue(refused > 0, "never starved");
    }

    /// @dev An external call, so that the memory of one try is gone before the next.
    function tryAt(address sender, bytes memory data, uint256 gasLimit) external returns (bool ok) {
        uint256 start = vm.snapshotState();
        bytes32 before = stateHash(channels);
        bytes32 state;
        bytes32 logs;
        (ok, state, logs) = _run(sender, data, gasLimit);
        vm.assertEq(state, ok ? expectedState : before, "state depends on gas");
        if (ok) vm.assertEq(logs, expectedLogs, "report depends on gas");
        vm.revertToState(start);
    }

    function _run(address sender, bytes memory data, uint256 gasLimit)
        private
        returns (bool ok, bytes32 state, bytes32 logs)
    {
        vm.recordLogs();
        vm.prank(sender);
        (ok,) = address(channels).call{gas: gasLimit}(data);
        Vm.Log[] memory all = vm.getRecordedLogs();
        logs = keccak256(abi.encode(all));
        state = keccak256(
            abi.encode(
                stateHash(channels),
                honest.balanceOf(vm.addr(RECEIVER_KEY)),
                other.balanceOf(vm.addr(OTHER_RECEIVER_KEY))
            )
        );
        if (!ok) state = stateHash(channels);
    }
}
