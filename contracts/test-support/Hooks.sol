// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IACPHook} from "../interfaces/IACPHook.sol";

/// @notice A job's hook that writes down what it is told, and can be told to misbehave in one way at a time.
contract ScriptedHook is IACPHook {
    enum Mode {
        Honest,
        RevertsBefore,
        RevertsAfter,
        BurnsGas,
        ReturnBomb,
        /// Calls `target` from within, before and after.
        Reenters,
        /// Reverts when it gets less than `threshold` gas.
        NeedsGas
    }

    struct Seen {
        bool after_;
        uint256 jobId;
        bytes4 selector;
        bytes data;
    }

    error Refused(bytes4 selector);

    Mode public mode;
    address public target;
    bytes public callData;
    uint256 public threshold;
    uint256 public reentries;
    bool public reentered;
    Seen[] private _seen;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function setThreshold(uint256 threshold_) external {
        (mode, threshold) = (Mode.NeedsGas, threshold_);
    }

    function setReentry(address target_, bytes calldata data) external {
        (mode, target, callData) = (Mode.Reenters, target_, data);
    }

    function beforeAction(uint256 jobId, bytes4 selector, bytes calldata data) external {
        _act(false, jobId, selector, data);
    }

    function afterAction(uint256 jobId, bytes4 selector, bytes calldata data) external {
        _act(true, jobId, selector, data);
    }

    function _act(bool after_, uint256 jobId, bytes4 selector, bytes calldata data) private {
        if (mode == (after_ ? Mode.RevertsAfter : Mode.RevertsBefore)) revert Refused(selector);
        if (mode == Mode.BurnsGas) {
            assembly {
                invalid()
            }
        }
        if (mode == Mode.ReturnBomb) {
            assembly {
                revert(0, 300000)
            }
        }
        if (mode == Mode.NeedsGas) require(gasleft() >= threshold, "starved");
        if (mode == Mode.Reenters) {
            reentries++;
            (bool ok,) = target.call(callData);
            if (ok) reentered = true;
            return;
        }
        _seen.push(Seen(after_, jobId, selector, data));
    }

    function count() external view returns (uint256) {
        return _seen.length;
    }

    function seen(uint256 i) external view returns (Seen memory) {
        return _seen[i];
    }

    function forget() external {
        delete _seen;
    }
}
